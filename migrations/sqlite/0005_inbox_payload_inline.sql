-- Nothing: SQLite does not compress. The versions of both databases stay in step.
select 1;

-- What a worker must know of an entry beside how often it was tried.

-- Grows each time that the entry is taken by a worker or retried, and never goes back, unlike `attempts`.
-- An entry begins with the time in microseconds, so that one which was gone and came back is ahead of
-- itself. A worker that is late is known by an old number.
alter table stripe_inbox add column fence integer not null default 0
    constraint stripe_inbox_fence_counted check (fence >= 0);

-- Set while a worker has the entry, and cleared with the outcome. Set in an entry that has fallen due
-- again, the worker's process has died: the event runs alone, so that it takes no others along.
alter table stripe_inbox add column in_attempt integer not null default 0
    constraint stripe_inbox_in_attempt_while_pending
    check (in_attempt = 0 or (in_attempt = 1 and state = 'pending'));

-- Set when an operator has retried or released the entry, or a delivery has readmitted its event: what
-- nobody handles then is dead, and not gone.
alter table stripe_inbox add column wanted integer not null default 0
    constraint stripe_inbox_wanted_boolean check (wanted in (0, 1));

-- How often the handler has said "not yet": those do not count as attempts.
alter table stripe_inbox add column not_yets integer not null default 0
    constraint stripe_inbox_not_yets_counted check (not_yets >= 0);

create index stripe_inbox_in_attempt_idx on stripe_inbox (due_at)
    where state = 'pending' and in_attempt = 1;
-- For the sweep of old bytes.
create index stripe_inbox_payload_idx on stripe_inbox (received_at)
    where state <> 'pending' and payload is not null;

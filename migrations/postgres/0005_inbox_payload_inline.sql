-- Bodies of Stripe's usual size stay in their row as they are: compressing one takes longer than all the
-- rest of storing it, and the row is gone as soon as its event is processed. Larger ones are compressed.
alter table stripe_inbox set (toast_tuple_target = 8160);

-- Which events are held, the order of the events of an object, and what operators have done.

-- What keeps an event from being run: a guard that has stopped it, an object that does not fit, or a
-- handler that has had it quarantined. Null for one that is processed, or was given up.
alter table processed_stripe_events add column held_by text
    constraint processed_stripe_events_held_by_known check (held_by in ('guard', 'misfit', 'handler'));
update processed_stripe_events set held_by = 'guard'
    where exists (select 1 from stripe_inbox as kept
        where kept.event_id = processed_stripe_events.event_id
            and kept.endpoint = processed_stripe_events.endpoint
            and kept.state = 'quarantined' and substr(kept.last_error, 1, 6) = 'guard_');

-- Also in sessions whose `session_replication_role` leaves ordinary triggers out.
alter table processed_stripe_events enable always trigger processed_stripe_events_closed;

-- One row for each object whose events are put in order. Instants are Unix seconds, as Stripe gives
-- them in an event's `created`.
create table stripe_objects (
    object_id      text not null,
    endpoint       text not null,
    -- Of the newest event that was processed, and of the newest one before the last.
    newest_created bigint not null,
    before_created bigint,
    -- A deleted object never comes back: every further event of it is an older one.
    deleted        boolean not null default false,
    touched_at     timestamptz not null default now(),
    constraint stripe_objects_pkey primary key (object_id, endpoint),
    constraint stripe_objects_object_id_filled check (object_id <> ''),
    constraint stripe_objects_endpoint_filled check (endpoint <> ''),
    constraint stripe_objects_created_in_order check (before_created <= newest_created)
);

-- For the sweep of old rows.
create index stripe_objects_touched_at_idx on stripe_objects (touched_at);

-- What operators have done with an event that was kept: who, and why.
create table stripe_actions (
    id       bigint generated always as identity,
    event_id text not null,
    endpoint text not null,
    action   text not null,
    actor    text not null,
    reason   text not null,
    acted_at timestamptz not null default now(),
    constraint stripe_actions_pkey primary key (id),
    constraint stripe_actions_action_known check (action in ('release', 'discard', 'retry')),
    constraint stripe_actions_actor_sized check (length(actor) between 1 and 255),
    constraint stripe_actions_reason_sized check (length(reason) between 1 and 1000)
);

create index stripe_actions_event_id_idx on stripe_actions (event_id);

-- The tables of axum-stripe-webhook. Released once and never edited: changes come as new files.
-- It may be copied into a service's own migrations instead of calling migrate().
-- Instants are Unix milliseconds; created_at, which Stripe gives in seconds, likewise.

-- One row for each event that was processed. It is written in the transaction of the handler.
create table processed_stripe_events (
    event_id     text    not null,
    endpoint     text    not null,
    event_type   text    not null,
    account      text,
    livemode     integer,
    created_at   integer,
    processed_at integer not null default (cast(1000 * unixepoch('subsec') as integer)),
    constraint processed_stripe_events_pkey primary key (event_id, endpoint),
    constraint processed_stripe_events_event_id_filled check (event_id <> ''),
    constraint processed_stripe_events_endpoint_filled check (endpoint <> ''),
    constraint processed_stripe_events_event_type_filled check (event_type <> ''),
    constraint processed_stripe_events_livemode_boolean check (livemode in (0, 1))
) strict, without rowid;

create index processed_stripe_events_processed_at_idx on processed_stripe_events (processed_at);

-- Events that are stored: waiting for a worker, given up, or kept aside. A row leaves when its
-- event is processed.
create table stripe_inbox (
    event_id    text    not null,
    endpoint    text    not null,
    event_type  text    not null,
    account     text,
    livemode    integer,
    created_at  integer,
    object_id   text,
    -- The bytes exactly as signed; null once they were scrubbed.
    payload     blob,
    state       text    not null default 'pending',
    attempts    integer not null default 0,
    due_at      integer default (cast(1000 * unixepoch('subsec') as integer)),
    last_error  text,
    received_at integer not null default (cast(1000 * unixepoch('subsec') as integer)),
    constraint stripe_inbox_pkey primary key (event_id, endpoint),
    constraint stripe_inbox_event_id_filled check (event_id <> ''),
    constraint stripe_inbox_endpoint_filled check (endpoint <> ''),
    constraint stripe_inbox_event_type_filled check (event_type <> ''),
    constraint stripe_inbox_livemode_boolean check (livemode in (0, 1)),
    constraint stripe_inbox_state_known check (state in ('pending', 'dead', 'quarantined')),
    constraint stripe_inbox_attempts_counted check (attempts >= 0),
    constraint stripe_inbox_due_while_pending check ((state = 'pending') = (due_at is not null)),
    constraint stripe_inbox_payload_while_pending check (state <> 'pending' or payload is not null)
) strict;

create index stripe_inbox_due_at_idx on stripe_inbox (due_at) where state = 'pending';
create index stripe_inbox_received_at_idx on stripe_inbox (state, received_at)
    where state <> 'pending';

-- One row for each effect that was claimed, by whichever event came first.
create table stripe_effects (
    effect_key text    not null,
    event_id   text    not null,
    claimed_at integer not null default (cast(1000 * unixepoch('subsec') as integer)),
    constraint stripe_effects_pkey primary key (effect_key),
    constraint stripe_effects_effect_key_sized check (length(effect_key) between 1 and 255),
    constraint stripe_effects_event_id_filled check (event_id <> '')
) strict, without rowid;

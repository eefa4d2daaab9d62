-- The tables of axum-stripe-webhook. Released once and never edited: changes come as new files.
-- It may be copied into a service's own migrations instead of calling migrate().

-- One row for each event that was processed. It is written in the transaction of the handler.
create table processed_stripe_events (
    event_id     text        not null,
    endpoint     text        not null,
    event_type   text        not null,
    account      text,
    livemode     boolean,
    created_at   timestamptz,
    processed_at timestamptz not null default now(),
    constraint processed_stripe_events_pkey primary key (event_id, endpoint),
    constraint processed_stripe_events_event_id_filled check (event_id <> ''),
    constraint processed_stripe_events_endpoint_filled check (endpoint <> ''),
    constraint processed_stripe_events_event_type_filled check (event_type <> '')
);

-- For the sweep of old rows.
create index processed_stripe_events_processed_at_idx on processed_stripe_events (processed_at);

-- A COMMIT that the handler sends by itself would tear the event's writes apart. While the setting
-- says 'open' it fails here, which rolls everything back; the crate's last statement says 'closed'.
-- Rows that anybody else inserts have no such setting and are left alone.
create function stripe_event_must_be_closed() returns trigger
    language plpgsql
as $$
begin
    if current_setting('axum_stripe_webhook.transaction', true) = 'open' then
        raise exception 'the transaction of a Stripe event is committed by axum-stripe-webhook alone'
            using errcode = 'invalid_transaction_termination',
                  hint = 'leave COMMIT and SET CONSTRAINTS ALL IMMEDIATE out of the handler';
    end if;
    return null;
end
$$;

create constraint trigger processed_stripe_events_closed
    after insert on processed_stripe_events
    deferrable initially deferred
    for each row
    when (current_setting('axum_stripe_webhook.transaction', true) = 'open')
    execute function stripe_event_must_be_closed();

-- Events that are stored: waiting for a worker, given up, or kept aside. A row leaves when its
-- event is processed.
create table stripe_inbox (
    event_id    text        not null,
    endpoint    text        not null,
    event_type  text        not null,
    account     text,
    livemode    boolean,
    created_at  timestamptz,
    object_id   text,
    -- The bytes exactly as signed; null once they were scrubbed.
    payload     bytea,
    state       text        not null default 'pending',
    attempts    integer     not null default 0,
    due_at      timestamptz default now(),
    last_error  text,
    received_at timestamptz not null default now(),
    constraint stripe_inbox_pkey primary key (event_id, endpoint),
    constraint stripe_inbox_event_id_filled check (event_id <> ''),
    constraint stripe_inbox_endpoint_filled check (endpoint <> ''),
    constraint stripe_inbox_event_type_filled check (event_type <> ''),
    constraint stripe_inbox_state_known check (state in ('pending', 'dead', 'quarantined')),
    constraint stripe_inbox_attempts_counted check (attempts >= 0),
    constraint stripe_inbox_due_while_pending check ((state = 'pending') = (due_at is not null)),
    constraint stripe_inbox_payload_while_pending check (state <> 'pending' or payload is not null)
);

create index stripe_inbox_due_at_idx on stripe_inbox (due_at) where state = 'pending';
create index stripe_inbox_received_at_idx on stripe_inbox (state, received_at)
    where state <> 'pending';

-- One row for each effect that was claimed, by whichever event came first.
create table stripe_effects (
    effect_key text        not null,
    event_id   text        not null,
    claimed_at timestamptz not null default now(),
    constraint stripe_effects_pkey primary key (effect_key),
    constraint stripe_effects_effect_key_sized check (length(effect_key) between 1 and 255),
    constraint stripe_effects_event_id_filled check (event_id <> '')
);

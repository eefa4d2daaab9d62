-- The audit trail: one row for each delivery that was recorded, refused ones included, and no payload.
create table stripe_deliveries (
    delivery_id        integer primary key,
    received_at        integer not null,
    duration_us        integer not null,
    endpoint           text,
    outcome            text not null,
    -- Null: nobody was there to be answered.
    status             integer,
    -- Only of what was verified.
    event_id           text,
    event_type         text,
    secret_name        text,
    peer               text,
    -- As the header says; negative for the future. Nobody has signed for it if there is no event.
    header_age_seconds integer,
    body_bytes         integer,
    body_sha256        blob,
    constraint stripe_deliveries_outcome_filled check (outcome <> ''),
    constraint stripe_deliveries_body_sha256_whole check (length(body_sha256) = 32),
    constraint stripe_deliveries_body_whole check ((body_bytes is null) = (body_sha256 is null))
) strict;

-- For "what came yesterday"; the sweep goes by the ids.
create index stripe_deliveries_received_at_idx on stripe_deliveries (received_at);
create index stripe_deliveries_event_id_idx on stripe_deliveries (event_id) where event_id is not null;

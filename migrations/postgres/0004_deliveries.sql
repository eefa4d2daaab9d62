-- The audit trail: one row for each delivery that was recorded, refused ones included, and no payload.
create table stripe_deliveries (
    delivery_id        bigint generated always as identity,
    received_at        timestamptz not null,
    duration_us        bigint not null,
    endpoint           text,
    outcome            text not null,
    -- Null: nobody was there to be answered.
    status             smallint,
    -- Only of what was verified.
    event_id           text,
    event_type         text,
    secret_name        text,
    peer               inet,
    -- As the header says; negative for the future. Nobody has signed for it if there is no event.
    header_age_seconds bigint,
    body_bytes         bigint,
    body_sha256        bytea,
    constraint stripe_deliveries_pkey primary key (delivery_id),
    constraint stripe_deliveries_outcome_filled check (outcome <> ''),
    constraint stripe_deliveries_body_sha256_whole check (octet_length(body_sha256) = 32),
    constraint stripe_deliveries_body_whole check ((body_bytes is null) = (body_sha256 is null))
);

-- For "what came yesterday". Rows come in the order of time, and the sweep goes by their ids.
create index stripe_deliveries_received_at_idx on stripe_deliveries using brin (received_at);
create index stripe_deliveries_event_id_idx on stripe_deliveries (event_id) where event_id is not null;

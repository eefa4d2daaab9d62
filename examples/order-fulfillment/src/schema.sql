-- One text for Postgres and SQLite. Amounts are in the currency's smallest unit (cents).

-- Everything that Stripe has said about a payment, whichever event came first: a refund or dispute
-- may arrive before the payment itself.
create table if not exists payment_intents (
    id              text   not null,
    status          text   not null,
    amount_refunded bigint not null,
    constraint payment_intents_pkey primary key (id),
    constraint payment_intents_status_known check (status in ('clear', 'refunded', 'disputed')),
    constraint payment_intents_refund_counted check (amount_refunded >= 0)
);

create table if not exists orders (
    id             text   not null,
    amount         bigint not null,
    currency       text   not null,
    status         text   not null,
    payment_intent text,
    constraint orders_pkey primary key (id),
    constraint orders_payment_intent_key unique (payment_intent),
    constraint orders_payment_intent_fkey
        foreign key (payment_intent) references payment_intents (id),
    constraint orders_amount_counted check (amount >= 0),
    constraint orders_currency_lower_case check (currency = lower(currency)),
    constraint orders_status_known
        check (status in ('pending', 'paid', 'expired', 'refunded', 'disputed')),
    constraint orders_unpaid_without_payment
        check (payment_intent is null or status in ('paid', 'refunded', 'disputed'))
);

-- The fulfilment lock: whatever goes wrong elsewhere, an order has one parcel. The warehouse takes
-- pending ones and marks them sent.
create table if not exists shipments (
    order_id text not null,
    state    text not null,
    constraint shipments_pkey primary key (order_id),
    constraint shipments_order_id_fkey foreign key (order_id) references orders (id),
    constraint shipments_state_known check (state in ('pending', 'held', 'sent'))
);

-- Every Checkout Session that paid an order which another one had paid: its money has to go back.
-- Amount and currency stand as they were sent, and need not be the order's.
create table if not exists refunds_due (
    session_id     text   not null,
    order_id       text   not null,
    payment_intent text,
    amount         bigint not null,
    currency       text,
    constraint refunds_due_pkey primary key (session_id),
    constraint refunds_due_payment_intent_key unique (payment_intent),
    constraint refunds_due_order_id_fkey foreign key (order_id) references orders (id),
    constraint refunds_due_payment_intent_fkey
        foreign key (payment_intent) references payment_intents (id)
);

//! The states that rows can be in: each is one word, the same here and in `schema.sql`.

/// An enum whose variants are stored as words.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$means:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$means])* $variant,)+
        }

        impl $name {
            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The word that is stored.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// Reads a stored word.
            pub(crate) fn read(word: &str) -> Result<Self, sqlx::Error> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(sqlx::Error::Decode(concat!("no such ", stringify!($name)).into())),
                }
            }
        }
    };
}

words! {
    /// What has become of an order.
    OrderStatus {
        /// Not paid yet.
        Pending = "pending",
        /// Paid: it has a shipment.
        Paid = "paid",
        /// Its Checkout Session ran out. Another session can still pay it.
        Expired = "expired",
        /// Paid and wholly refunded.
        Refunded = "refunded",
        /// Paid and disputed, refunded or not.
        Disputed = "disputed",
    }
}

words! {
    /// What has been said about a payment. A later word wins over an earlier one of this list,
    /// whichever arrives first.
    IntentStatus {
        /// Nothing bad.
        Clear = "clear",
        /// Wholly refunded.
        Refunded = "refunded",
        /// Disputed: somebody has to answer the bank, even if it was refunded too.
        Disputed = "disputed",
    }
}

words! {
    /// What has become of an order's parcel.
    ShipmentState {
        /// The warehouse may send it.
        Pending = "pending",
        /// The warehouse must not send it: its payment was refunded or disputed.
        Held = "held",
        /// It has left.
        Sent = "sent",
    }
}

impl IntentStatus {
    /// The status of the order that this payment pays.
    pub(crate) fn order(self) -> OrderStatus {
        match self {
            Self::Clear => OrderStatus::Paid,
            Self::Refunded => OrderStatus::Refunded,
            Self::Disputed => OrderStatus::Disputed,
        }
    }

    /// The state in which a shipment starts.
    pub(crate) fn shipment(self) -> ShipmentState {
        match self {
            Self::Clear => ShipmentState::Pending,
            Self::Refunded | Self::Disputed => ShipmentState::Held,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_of(column: &str, words: impl Iterator<Item = &'static str>) -> String {
        let words: Vec<_> = words.collect();
        format!("check ({column} in ('{}'))", words.join("', '"))
    }

    #[test]
    fn the_checks_of_the_schema_name_the_same_words_in_the_same_order() {
        let schema = include_str!("schema.sql");
        for check in [
            check_of("status", OrderStatus::ALL.iter().map(|word| word.as_str())),
            check_of("status", IntentStatus::ALL.iter().map(|word| word.as_str())),
            check_of("state", ShipmentState::ALL.iter().map(|word| word.as_str())),
        ] {
            assert!(schema.contains(&check), "{check}");
        }
    }

    #[test]
    fn a_stored_word_is_read_back() {
        for status in OrderStatus::ALL {
            assert_eq!(OrderStatus::read(status.as_str()).ok(), Some(*status));
        }
        assert!(OrderStatus::read("lost").is_err());
    }
}

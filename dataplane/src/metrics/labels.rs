//! The closed sets that label values come from: a client can't grow the series.

macro_rules! labels {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($variant),+ }

        impl $name {
            pub(super) const ALL: &[Self] = &[$(Self::$variant),+];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

labels! {
    /// What was turned away to protect the rest, before it was a call.
    Shed {
        Body = "body",
        BodyTimeout = "body_timeout",
        Connections = "connections",
        HeaderTimeout = "header_timeout",
        InFlight = "in_flight",
        Memory = "memory",
        Origin = "origin",
        SlowReader = "slow_reader",
        Streams = "streams",
        Tokens = "tokens",
        UnaskedResponse = "unasked_response",
    }
}

labels! {
    /// What a client's connection is doing.
    Connection { Active = "active", Attached = "attached", Idle = "idle", Stream = "stream" }
}

labels! {
    /// The steps of a call's way that are timed.
    Stage {
        ClientLimits = "limits",
        Resolve = "resolve",
        TargetLimits = "limits",
        Arguments = "arguments",
        Rules = "rules",
        Dispatch = "dispatch",
        Record = "record",
    }
}

//! How long and how many calls wait for clients that are asked within an answer.

use std::time::Duration;

use sentinel_proto::v1;

/// Of clients that are asked within an answer, and of calls that wait for them.
#[derive(Clone, Copy, Debug)]
pub struct ParkedLimits {
    /// How long a client has to come again.
    pub within: Duration,
    pub most: usize,
    pub most_of_a_client: usize,
}

impl ParkedLimits {
    /// A control plane that does not know the keys says 0.
    pub(super) fn read(gateway: &v1::Gateway) -> Self {
        let or = |said: u32, default: u32| if said == 0 { default } else { said };
        Self {
            within: Duration::from_secs(or(gateway.parked_secs, 600).into()),
            most: or(gateway.max_parked, 1024) as usize,
            most_of_a_client: or(gateway.max_parked_per_client, 64) as usize,
        }
    }
}

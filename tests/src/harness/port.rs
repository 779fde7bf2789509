//! Free ports that stay the test's own: a daemon that is killed comes back on the port it had. Chosen below the range
//! from which outgoing connections take theirs, and locked against other test processes by a file.

use std::fs::File;
use std::net::TcpListener;

const FIRST: u16 = 12_000;
const COUNT: u16 = 18_000;

/// A port on 127.0.0.1, held until it is dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    /// Panics when none of many is free.
    #[must_use]
    pub fn free() -> Self {
        let folder = std::env::temp_dir().join("sentinel-test-ports");
        std::fs::create_dir_all(&folder).unwrap();
        let seed = uuid::Uuid::new_v4().as_u128();
        for step in 0..COUNT {
            let offset = (seed + u128::from(step) * 7) % u128::from(COUNT);
            let number = FIRST + u16::try_from(offset).unwrap();
            let lock = File::options().create(true).append(true).open(folder.join(number.to_string())).unwrap();
            if lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", number)).is_ok() {
                return Self { number, _lock: lock };
            }
        }
        panic!("no free port between {FIRST} and {}", FIRST + COUNT);
    }

    /// `127.0.0.1:PORT`
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.number)
    }

    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }
}

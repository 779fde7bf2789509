//! What every store promises, written once and run on SQLite and on Postgres.

mod ingest;
mod listing;
mod opening;
mod pins;
mod records;
mod state;
mod switches;
mod verify;

/// A test a promise and database: `store::contract::…::sqlite::it_holds`.
macro_rules! promises {
    ($($promise:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test] async fn $promise() { super::$promise(crate::store::fixtures::sqlite().await).await })+
        }
        mod postgres {
            $(#[tokio::test] async fn $promise() { super::$promise(crate::store::fixtures::postgres().await).await })+
        }
    };
}
use promises;

//! What operators did: `audit_actions`, written before the deed, completed with its outcome. Never removed by us.

use super::engine::{Arg, Row, Statement};
use super::error::StoreError;
use super::{Store, first};

/// Something an operator asked for.
#[derive(Clone, Debug)]
pub struct NewAction {
    pub at_unix_ms: i64,
    /// Who asks, as claimed by `sentinelctl`; for a signal or the start: the program's own name.
    pub user: String,
    pub host: String,
    /// `kill`, `config.reload`, `config.reject`, `token.mint` …
    pub verb: String,
    /// What it was done to: "tool n8n__list", a revision.
    pub target: String,
    pub reason: String,
}

/// An action with its number and outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    pub id: u64,
    pub at_unix_ms: i64,
    pub user: String,
    pub host: String,
    pub verb: String,
    pub target: String,
    pub reason: String,
    /// Empty: it never came to an end (the process died), or is under way.
    pub outcome: String,
}

impl Store {
    /// Notes that an action begins. Gives its number, for [`Store::finish_action`].
    ///
    /// # Errors
    /// Those of the database.
    pub async fn begin_action(&self, action: &NewAction) -> Result<u64, StoreError> {
        let statement = Statement::new(
            "INSERT INTO audit_actions (at_unix_ms, claimed_user, claimed_host, verb, target, reason, outcome) \
             VALUES ($1, $2, $3, $4, $5, $6, '') RETURNING id",
            [
                Arg::from(action.at_unix_ms),
                Arg::from(action.user.as_str()),
                Arg::from(action.host.as_str()),
                Arg::from(action.verb.as_str()),
                Arg::from(action.target.as_str()),
                Arg::from(action.reason.as_str()),
            ],
        );
        let rows = self.engine.write("note an action", vec![statement]).await?;
        first(rows.first(), "note an action")?.count("id")
    }

    /// Notes how it ended: "done", or the whole sentence of the refusal.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn finish_action(&self, id: u64, outcome: &str) -> Result<(), StoreError> {
        let statement = Statement::new(
            "UPDATE audit_actions SET outcome = $2 WHERE id = $1",
            [Arg::count("an action", id)?, Arg::from(outcome)],
        );
        self.engine.write("note an action's end", vec![statement]).await.map(drop)
    }

    /// The newest `limit` actions, newest first.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn actions(&self, limit: u32) -> Result<Vec<Action>, StoreError> {
        let statement =
            Statement::new("SELECT * FROM audit_actions ORDER BY id DESC LIMIT $1", [Arg::from(i64::from(limit))]);
        self.engine.read("list the actions", statement).await?.iter().map(action).collect()
    }
}

fn action(row: &Row) -> Result<Action, StoreError> {
    Ok(Action {
        id: row.count("id")?,
        at_unix_ms: row.value("at_unix_ms")?,
        user: row.value("claimed_user")?,
        host: row.value("claimed_host")?,
        verb: row.value("verb")?,
        target: row.value("target")?,
        reason: row.value("reason")?,
        outcome: row.value("outcome")?,
    })
}

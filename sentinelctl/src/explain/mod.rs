//! `sentinelctl explain`: why a call went as it went, and before the fact what would become of one.

mod after;
mod before;

use sentinel_proto::v1::{ExplainAsk, ExplainAskRequest, ExplainCallRequest, ExplainStage, RulePlace, ToldError};
use serde_json::{Value, json};

use crate::client::Client;
use crate::fault::Fault;
use crate::output::{Output, Rows, Tone, plain};

/// A call that was made, by its id; or one that is not made, by who would call what.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    sentinelctl explain 01a20ad1-af4e-73b4-969f-226f9b1ad96e\n  \
    sentinelctl explain --client ci --role analyst --tool example__add --arguments '{\"a\":1,\"b\":2}'")]
pub struct Args {
    /// The id of a call that was made: x-request-id, or requestId of an error
    #[arg(value_name = "REQUEST_ID", required_unless_present = "client", conflicts_with_all = ["client", "tool", "role", "issuer", "arguments", "server", "plane"])]
    request_id: Option<String>,
    /// Who would call, as its tokens name it
    #[arg(long, value_name = "NAME", requires = "tool")]
    client: Option<String>,
    /// What it would call, by the name under which it is listed
    #[arg(long, value_name = "NAME", requires = "client")]
    tool: Option<String>,
    /// A role of its token; may be given more than once. Without: the roles of its last call
    #[arg(long, value_name = "ROLE", requires = "client")]
    role: Vec<String>,
    /// Who signed its token, where two issuers name a client alike. Without: as in its last call
    #[arg(long, value_name = "ISSUER", requires = "client")]
    issuer: Option<String>,
    /// The arguments, a JSON object. Without: what depends on them is not judged
    #[arg(long, value_name = "JSON", requires = "client")]
    arguments: Option<String>,
    /// Through this virtual server. Without: through /mcp
    #[arg(long, value_name = "NAME", requires = "client")]
    server: Option<String>,
    /// Ask this plane alone, by name or id
    #[arg(long, value_name = "PLANE", requires = "client")]
    plane: Option<String>,
}

/// What to ask for.
#[derive(Debug)]
pub enum Ask {
    Call(ExplainCallRequest),
    Before(ExplainAskRequest),
}

impl Args {
    /// Errors: `Usage`, for arguments that are no JSON object.
    pub(crate) fn prepared(self) -> Result<Ask, Fault> {
        if let Some(request_id) = self.request_id {
            return Ok(Ask::Call(ExplainCallRequest { request_id }));
        }
        if let Some(text) = &self.arguments {
            let is_object = serde_json::from_str::<serde_json::Map<String, Value>>(text).is_ok();
            if !is_object {
                return Err(Fault::Usage(
                    "--arguments is no JSON object; write it as in '{\"text\":\"hello\"}'".to_owned(),
                ));
            }
        }
        let ask = ExplainAsk {
            client: self.client.unwrap_or_default(),
            roles: self.role,
            tool: self.tool.unwrap_or_default(),
            arguments: self.arguments.unwrap_or_default(),
            issuer: self.issuer.unwrap_or_default(),
            server: self.server.unwrap_or_default(),
        };
        Ok(Ask::Before(ExplainAskRequest { asks: vec![ask], plane: self.plane.unwrap_or_default() }))
    }
}

/// Errors: as the control plane says; `Failed` for an id without a row, and where no plane answers.
pub async fn run(client: &mut Client, ask: Ask, output: &mut Output) -> Result<(), Fault> {
    match ask {
        Ask::Call(request) => after::run(client, request, output).await,
        Ask::Before(request) => before::run(client, request, output).await,
    }
}

fn stages(stages: &[ExplainStage]) -> Rows {
    let mut rows = Rows::new(&["STAGE", "VERDICT", "WHY", "RULE", "AT"]);
    for ExplainStage { stage, verdict, why, rules } in stages {
        let tone = match verdict.as_str() {
            "passed" => Tone::Good,
            "refused" | "failed" => Tone::Bad,
            "unjudged" | "ended" => Tone::Doubtful,
            _ => Tone::Plain,
        };
        let each = |of: fn(&RulePlace) -> String| rules.iter().map(of).collect::<Vec<_>>().join(", ");
        rows.push([
            plain(stage),
            (verdict.replace('_', " "), tone),
            plain(why),
            plain(each(|rule| rule.rule.clone())),
            plain(each(place)),
        ]);
    }
    rows
}

fn place(rule: &RulePlace) -> String {
    if rule.line == 0 { "default".to_owned() } else { format!("{}:{}", rule.file, rule.line) }
}

/// What the client gets, or got.
fn show_error(title: &str, error: &ToldError, output: &mut Output) {
    output.line("");
    output.line(title);
    if error.code != 0 {
        output.line(&format!("{} {}", error.code, error.message));
    }
    output.line(&error.data);
}

fn stages_json(stages: &[ExplainStage]) -> Value {
    let rule = |rule: &RulePlace| {
        let (file, line) =
            if rule.line == 0 { (Value::Null, Value::Null) } else { (json!(rule.file), json!(rule.line)) };
        json!({ "rule": rule.rule, "file": file, "line": line })
    };
    let stage = |stage: &ExplainStage| {
        let rules: Vec<Value> = stage.rules.iter().map(rule).collect();
        json!({ "stage": stage.stage, "verdict": stage.verdict, "why": stage.why, "rules": rules })
    };
    stages.iter().map(stage).collect()
}

fn error_json(error: Option<&ToldError>) -> Value {
    error.map_or(Value::Null, |error| {
        let data: Value = serde_json::from_str(&error.data).unwrap_or_default();
        let code = if error.code == 0 { Value::Null } else { json!(error.code) };
        json!({ "code": code, "message": error.message, "data": data })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn asked(words: &[&str]) -> Result<Ask, Fault> {
        use clap::Parser as _;
        let line = Line::try_parse_from(std::iter::once("explain").chain(words.iter().copied()));
        line.map_err(|error| Fault::Usage(error.to_string()))?.args.prepared()
    }

    #[test]
    fn it_is_one_way_or_the_other() {
        assert!(matches!(asked(&["id"]), Ok(Ask::Call(_))));
        assert!(matches!(asked(&["--client", "c", "--tool", "t"]), Ok(Ask::Before(_))));
        for wrong in [
            &[][..],
            &["--client", "c"],
            &["--tool", "t"],
            &["id", "--client", "c", "--tool", "t"],
            &["id", "--role", "r"],
            &["--client", "c", "--tool", "t", "--arguments", "{"],
            &["--client", "c", "--tool", "t", "--arguments", "[1]"],
        ] {
            assert_eq!(asked(wrong).unwrap_err().exit_code(), 2, "{wrong:?}");
        }
    }
}

//! Histories that are wrong in one place each: a judge that has never found anything proves nothing.

use super::*;

fn made(nonce: &str, answer: Answer) -> Made {
    Made {
        client: "c".into(),
        backend: "b".into(),
        tool: "b__once".into(),
        nonce: nonce.into(),
        may_repeat: false,
        echoes: true,
        answer,
    }
}

fn result(nonce: &str) -> Answer {
    Answer::Result { request_id: format!("id-{nonce}"), said: nonce.into() }
}

fn row(nonce: &str, status: &str, kind: &str) -> Row {
    Row {
        request_id: format!("id-{nonce}"),
        client: "c".into(),
        tool: "b__once".into(),
        status: status.into(),
        kind: kind.into(),
        count: 1,
        nonce: nonce.into(),
    }
}

fn executed(nonce: &str) -> Executed {
    Executed { backend: "b".into(), nonce: nonce.into() }
}

/// Two results, a timeout, a refusal that never reached its backend, and a call that was cut.
fn good() -> History {
    let refused = |nonce: &str, kind: &str| Answer::Refused { request_id: format!("id-{nonce}"), kind: kind.into() };
    History {
        made: vec![
            made("1", result("1")),
            made("2", result("2")),
            made("3", refused("3", "timeout")),
            made("4", refused("4", "disabled")),
            made("5", Answer::None { why: "cut".into() }),
        ],
        rows: vec![
            row("1", "ok", ""),
            row("2", "ok", ""),
            row("3", "timeout", "timeout"),
            row("4", "denied", "disabled"),
            row("5", "ok", ""),
        ],
        executed: ["1", "2", "3", "5"].map(executed).to_vec(),
        counted: Some(5),
        levels: vec![Level { what: "in flight".into(), before: 0, after: 0, most: 0 }],
        ..History::default()
    }
}

/// The one rule that a change breaks.
fn broken(change: impl FnOnce(&mut History)) -> Vec<Rule> {
    let mut history = good();
    change(&mut history);
    let mut rules: Vec<Rule> = history.violations().into_iter().map(|violation| violation.rule).collect();
    rules.dedup();
    rules
}

#[test]
fn a_history_that_can_be_true_has_no_violation() {
    assert_eq!(good().violations(), []);
}

#[test]
fn answers_and_rows_that_do_not_fit_are_found() {
    assert_eq!(broken(|history| history.rows[0].request_id = "another".into()), [Rule::AnswerWithoutRow]);
    assert_eq!(broken(|history| history.rows[0].status = "error".into()), [Rule::AnswerWithoutRow]);
    assert_eq!(broken(|history| history.rows[0].tool = "b__other".into()), [Rule::AnswerWithoutRow]);
    assert_eq!(broken(|history| history.rows[2].kind = "backend_error".into()), [Rule::AnswerWithoutRow]);
    assert!(broken(|history| history.rows[0].client = "d".into()).contains(&Rule::AnswerWithoutRow));
    let twice = broken(|history| {
        let again = history.rows[0].clone();
        history.rows.push(again);
        history.counted = Some(6);
    });
    assert_eq!(twice, [Rule::AnswerWithoutRow, Rule::RowWithoutCall]);
    let foreign = |history: &mut History| {
        history.rows.push(row("99", "ok", ""));
        history.counted = Some(6);
    };
    assert_eq!(broken(foreign), [Rule::RowWithoutCall]);
}

#[test]
fn refusals_that_share_a_row_are_counted() {
    let fold = |count: u64| {
        move |history: &mut History| {
            history.rows[3] =
                Row { request_id: "shared".into(), count, nonce: String::new(), ..history.rows[3].clone() };
            history.counted = Some(4 + count);
        }
    };
    assert_eq!(broken(fold(2)), []);
    assert_eq!(broken(|history| drop((history.rows.remove(3), history.counted.take()))), [Rule::AnswerWithoutRow]);
}

#[test]
fn what_reached_a_backend_twice_or_never_is_found() {
    assert_eq!(broken(|history| history.executed.push(executed("3"))), [Rule::SentTwice]);
    let repeated = |history: &mut History| {
        history.made[2].may_repeat = true;
        history.executed.push(executed("3"));
    };
    assert_eq!(broken(repeated), []);
    assert_eq!(broken(|history| drop(history.executed.remove(0))), [Rule::ResultOfNothing]);
    assert_eq!(broken(|history| history.executed.push(executed("unknown"))), [Rule::ResultOfNothing]);
}

#[test]
fn another_callers_answer_is_found() {
    let swapped = |history: &mut History| {
        history.made[0].answer = Answer::Result { request_id: "id-1".into(), said: "2".into() };
    };
    assert_eq!(broken(swapped), [Rule::WrongCaller]);
}

#[test]
fn what_is_not_given_back_or_does_not_come_back_is_found() {
    assert_eq!(broken(|history| history.levels[0].after = 1), [Rule::NotGivenBack]);
    assert_eq!(broken(|history| history.strays.push("sleep 3000".into())), [Rule::Orphan]);
    assert_eq!(broken(|history| history.dead.push("rough".into())), [Rule::NotBack]);
    assert_eq!(broken(|history| history.counted = Some(7)), [Rule::Miscounted]);
}

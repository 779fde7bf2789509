//! A good file, broken at random: never a panic, and every problem has a place within the file.

use proptest::prelude::*;

use super::super::{Problem, load};
use super::{FULL, KEY};

/// What people and editors do to a file.
#[derive(Debug, Clone)]
enum Mutation {
    Cut { at: usize, length: usize },
    Insert { at: usize, text: String },
    Repeat { at: usize, length: usize },
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let piece = prop_oneof![
        Just("${".to_owned()),
        Just("\"".to_owned()),
        Just("'''".to_owned()),
        Just("[[".to_owned()),
        Just("]".to_owned()),
        Just(" = ".to_owned()),
        Just("\n".to_owned()),
        Just("-1".to_owned()),
        Just("1e999".to_owned()),
        Just("99999999999999999999999999999999999999999".to_owned()),
        Just("0xffffffffffffffffff".to_owned()),
        Just("nan".to_owned()),
        Just("ä\u{202e}\0".to_owned()),
        Just("a.".repeat(90)),
        Just("[".repeat(90)),
        ".{0,8}",
    ];
    prop_oneof![
        (any::<usize>(), 0..40usize).prop_map(|(at, length)| Mutation::Cut { at, length }),
        (any::<usize>(), piece).prop_map(|(at, text)| Mutation::Insert { at, text }),
        (any::<usize>(), 0..80usize).prop_map(|(at, length)| Mutation::Repeat { at, length }),
    ]
}

fn apply(text: &str, mutation: &Mutation) -> String {
    let chars: Vec<char> = text.chars().collect();
    let place = |at: usize| at % (chars.len() + 1);
    let (start, end, between): (usize, usize, Vec<char>) = match mutation {
        Mutation::Cut { at, length } => (place(*at), (place(*at) + length).min(chars.len()), Vec::new()),
        Mutation::Insert { at, text } => (place(*at), place(*at), text.chars().collect()),
        Mutation::Repeat { at, length } => {
            let end = (place(*at) + length).min(chars.len());
            (end, end, chars[place(*at)..end].to_vec())
        }
    };
    chars[..start].iter().chain(&between).chain(&chars[end..]).collect()
}

fn within(problem: &Problem, text: &str) -> bool {
    let lines = u32::try_from(text.matches('\n').count() + 1).unwrap();
    (1..=lines).contains(&problem.line) && problem.col >= 1 && !problem.message.contains('\n')
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_mutation_of_a_good_file_ends_in_a_panic(mutations in prop::collection::vec(mutation(), 1..6)) {
        let text = mutations.iter().fold(FULL.to_owned(), |text, mutation| apply(&text, mutation));
        match load("f", &text, &KEY) {
            Ok(loaded) => prop_assert!(loaded.warnings.iter().all(|problem| within(problem, &text))),
            Err(problems) => {
                prop_assert!(!problems.0.is_empty());
                for problem in &problems.0 {
                    prop_assert!(within(problem, &text), "{problem}");
                }
            }
        }
    }

    #[test]
    fn no_text_at_all_ends_in_a_panic(text in "\\PC{0,200}") {
        drop(load("f", &text, &KEY));
    }
}

#[test]
fn endless_nesting_is_a_problem_and_not_a_crash() {
    for text in ["a.".repeat(100_000), format!("x = {}", "[".repeat(100_000)), format!("x = {}", "{a=".repeat(100_000))]
    {
        load("f", &text, &KEY).unwrap_err();
    }
}

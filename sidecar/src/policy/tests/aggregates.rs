//! Counts, totals and extremes: over rows they need every row, in prose they may be facts.

use crate::policy::rows::asks_every_row;

fn join(rows: impl Iterator<Item = String>) -> String {
    rows.collect::<Vec<_>>().join("\n")
}

fn tables() -> Vec<String> {
    let place = |number: usize| ["Narvik", "Setubal", "Lugoj", "Kalmar"][number % 4];
    let state = |number: usize| ["paid", "overdue", "open"][number % 3];
    let amount = |number: usize| 100 + number * 7919 % 9000;
    vec![
        join((1..200).map(|n| {
            format!(
                "Invoice {n} to {} works, {} euros, due {} May, {}.",
                place(n),
                amount(n),
                n % 28 + 1,
                state(n)
            )
        })),
        format!(
            "id,place,amount,state\n{}",
            join((1..200).map(|n| format!("{n},{},{},{}", place(n), amount(n), state(n))))
        ),
        format!(
            "| id | place | amount | state |\n|---|---|---|---|\n{}",
            join((1..200).map(|n| format!("| {n} | {} | {} | {} |", place(n), amount(n), state(n))))
        ),
        join((1..200).map(|n| {
            format!(
                r#"{{"id":{n},"place":"{}","amount":{},"state":"{}"}}"#,
                place(n),
                amount(n),
                state(n)
            )
        })),
        join((1..200).map(|n| format!("{n}\t{}\t{}\t{}", place(n), amount(n), state(n)))),
        format!(
            "Our invoices of May, as of today.\n\n{}",
            join((1..200).map(|n| format!(
                "- {}: {},{:02} EUR ({})",
                place(n),
                amount(n),
                n % 100,
                state(n)
            )))
        ),
        format!(
            "<table>{}</table>",
            join((1..200).map(|n| format!(
                "<tr><td>{n}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                place(n),
                amount(n),
                state(n)
            )))
        ),
    ]
}

#[test]
fn over_rows_they_need_every_row() {
    for question in [
        "How many invoices are overdue?",
        "What is the total of the overdue invoices?",
        "Which invoice is the highest?",
        "What's the average amount?",
        "Which works owes the most?",
        "Compare what the works owe.",
        "Which invoices are above the limit?",
        "What is the latest due date?",
        "Give me all of them that are open.",
        "Wie viele Rechnungen sind überfällig?",
        "Wie hoch ist die Summe der offenen Rechnungen?",
        "Welche Rechnung ist die höchste?",
        "Was ist der durchschnittliche Betrag?",
        "Combien de factures sont en retard ?",
        "Quel est le total des factures impayées ?",
        "Quelle facture est la plus élevée ?",
        "¿Cuántas facturas están vencidas?",
        "¿Cuál es el importe total de las facturas?",
        "¿Qué factura es la más alta?",
    ] {
        for table in tables() {
            let start = &table[..60];
            assert!(asks_every_row(question, &table), "{question} {start}");
        }
    }
}

#[test]
fn one_row_is_a_fact() {
    let rows = (1..200).map(|n| format!("{n},Works {n} Ltd,{},{}", n * 3, n % 60));
    let table = format!(
        "id,firm,employees,days\n{}\n201,Brightwater Ceramics,75,30",
        join(rows)
    );
    for question in [
        "How many employees does Brightwater have?",
        "What is the total for Brightwater Ceramics?",
        "Wie viele Tage hat Brightwater?",
        "When is the invoice due?",
    ] {
        assert!(!asks_every_row(question, &table), "{question}");
    }
    let clauses = (0..600).map(|n| format!("Clause {n} says that the parties meet."));
    let clauses = format!(
        "{}\nA termination needs ninety days of notice.\nThe end.",
        join(clauses)
    );
    let question = "How many days of notice does a termination need?";
    assert!(!asks_every_row(question, &clauses), "{question}");
}

#[test]
fn in_prose_they_are_facts() {
    let prose = super::report(300);
    for question in [
        "What is the total amount of the contract?",
        "How many shares were issued?",
        "What is the maximum number of concurrent users?",
        "What is the highest court named in the clause?",
        "Wie viele Urlaubstage stehen mir zu?",
        "Combien de jours de congé sont prévus ?",
        "¿Cuál es el importe total del contrato?",
        "What does the average customer mean to the vendor?",
    ] {
        assert!(!asks_every_row(question, &prose), "{question}");
    }
}

//! What the ranker was trained for: English questions about English prose, tables, talk and contracts. Where a request
//! is of another kind the cheaper tiers, which were not trained, find more.

use super::Asks;
use super::languages::{may_be_english, sample};
use crate::document::{Document, SpanKind, Unit};

/// Share of the words above which units of one kind make a document one of that kind.
const MOST: f64 = 0.5;

/// Returns whether the ranker was trained for such asks and such a document.
pub(super) fn covers(document: &Document<'_>, asks: &Asks) -> bool {
    if is_mostly_code(&document.units) || document.is_log() {
        return false;
    }
    let asked: Vec<&str> = asks.iter().map(|ask| ask.text()).collect();
    may_be_english(&asked.join("\n")) && may_be_english(&sample(document))
}

/// Returns whether most words of a document are code or data. Rows of tables are not.
fn is_mostly_code(units: &[Unit]) -> bool {
    let words = |is: fn(&Unit) -> bool| -> f64 {
        let of_kind = units.iter().filter(|unit| is(unit));
        of_kind.map(|unit| f64::from(unit.words)).sum()
    };
    let code = words(|unit| unit.filler || matches!(unit.kind, SpanKind::Code | SpanKind::JsonElement));
    code > MOST * words(|_| true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Document;

    const ENGLISH: &str = "The supplier shall deliver the goods within thirty days of the order. If it fails to do \
                           so, the buyer may cancel the order and recover what it has paid. ";

    fn covers_text(document: &str, question: &str) -> bool {
        covers(&Document::parse(document), &Asks::from_question(question))
    }

    #[test]
    fn english_prose_tables_and_talk_are_covered_whatever_a_short_question_looks_like() {
        let prose = ENGLISH.repeat(20);
        let table =
            "| Year | Revenue | Cost |\n|---|---|---|\n| 2019 | 1,250 | 990 |\n| 2020 | 1,310 | 1,002 |\n"
                .repeat(3);
        let talk =
            "Anna: So what did we decide about the budget?\nBen: We keep it as it is until the spring.\n"
                .repeat(20);
        for document in [&prose, &table, &talk] {
            for question in [
                "When is it delivered?",
                "delivery term",
                "Café Müller?",
                "GDPR",
                "R2-D2 C-3PO",
            ] {
                assert!(covers_text(document, question), "{question} {document:.60}");
            }
        }
    }

    #[test]
    fn other_languages_are_not_covered() {
        let question = "When does the supplier have to deliver?";
        for document in [
            "Der Lieferant liefert die Ware innerhalb von dreißig Tagen nach der Bestellung. Andernfalls kann der Käufer \
             vom Vertrag zurücktreten. ",
            "Le fournisseur livre la marchandise dans les trente jours qui suivent la commande. À défaut, l'acheteur \
             peut annuler la commande. ",
            "El proveedor entregará los bienes en un plazo de treinta días a partir del pedido. De lo contrario, el \
             comprador podrá cancelar el pedido. ",
            "Leverandøren skal levere varerne inden for tredive dage efter bestillingen. I modsat fald kan køberen annullere \
             bestillingen og kræve pengene tilbage. ",
            "A szállító a megrendelést követő harminc napon belül köteles leszállítani az árut. Ellenkező esetben a vevő \
             elállhat a megrendeléstől. ",
            "供应商应在订单后三十天内交付货物。否则买方可以取消订单。",
            "Поставщик обязан поставить товар в течение тридцати дней после заказа. ",
            "サプライヤーは注文から三十日以内に商品を納入するものとする。",
        ] {
            assert!(!covers_text(&document.repeat(10), question), "{document}");
        }
        let english = ENGLISH.repeat(20);
        for question in [
            "保修期是多久？",
            "Когда поставка?",
            "Innerhalb welcher Frist muss der Lieferant die bestellte Ware nach dem Vertrag liefern?",
            "Dans quel délai le fournisseur doit-il livrer la marchandise commandée selon le contrat ?",
        ] {
            assert!(!covers_text(&english, question), "{question}");
        }
    }

    #[test]
    fn code_and_json_are_not_covered_but_prose_around_them_is() {
        let code = "```rust\nfn main() {\n    let total = parse(&arguments).unwrap_or_default();\n    println!(\"{total}\");\n}\n```\n\n";
        let json = format!(
            "[{}]",
            (0..40)
                .map(|n| format!("{{\"id\": {n}, \"name\": \"item {n}\", \"tags\": [\"a\", \"b\"]}}"))
                .collect::<Vec<_>>()
                .join(",\n")
        );
        let question = "What does the program print?";
        assert!(!covers_text(&code.repeat(10), question));
        assert!(!covers_text(&json, question));
        assert!(covers_text(
            &format!("{}\n\n{code}", ENGLISH.repeat(20)),
            question
        ));
    }

    #[test]
    fn logs_are_not_covered_but_talk_with_times_is() {
        let question = "Why did the connection fail?";
        for line in [
            "2024-03-01T10:22:33.123Z worker started with 4 threads\n",
            "Mar  1 10:22:33 host sshd[311]: Accepted key for admin from 10.0.0.1\n",
            "[2024-03-01 10:22:33,411] ERROR connection to db lost\n",
            "INFO  [main] c.e.App - started in 3.1 seconds\n",
        ] {
            assert!(!covers_text(&line.repeat(50), question), "{line}");
        }
        let say =
            |n| format!("[10:{n}] Anna: What about item {n} of the budget?\n[11:{n}] Ben: Item {n} stays.\n");
        let talk: String = (10..40).map(say).collect();
        assert!(covers_text(&talk, question));
    }
}

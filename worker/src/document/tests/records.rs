//! Tables in all their forms, and elements of JSON: rows stay whole and keep their header.

use super::*;

#[test]
fn keeps_the_header_with_the_rows() {
    let markdown = "Sales\n\n| Year | Sum |\n|---|---|\n| 2019 | 5 |\n| 2020 | 7 |\n";
    let document = Document::parse(markdown);
    assert_eq!(lead_of(&document, "2020"), Some("| Year | Sum |\n|---|---|"));
    assert_eq!(
        units(markdown)
            .iter()
            .filter(|(_, kind)| *kind == SpanKind::Row)
            .count(),
        2
    );

    let without_dashes = "| | 2019 | 2018 |\n| Net sales | 5 | 4 |\n| Cost | 3 | 2 |\n";
    assert_eq!(
        lead_of(&Document::parse(without_dashes), "Cost"),
        Some("| | 2019 | 2018 |")
    );

    for separated in [
        "name\tage\nann\t31\nbob\t45\n",
        "name,age,city\nann,31,rome\nbob,45,oslo\n",
    ] {
        let document = Document::parse(separated);
        assert!(lead_of(&document, "bob").unwrap().starts_with("name"));
    }

    let columns = "name    age   city\nann     31    rome\nbob     45    oslo\n";
    assert_eq!(
        lead_of(&Document::parse(columns), "bob"),
        Some("name    age   city")
    );
}

#[test]
fn case_19_rows_of_separated_values_keep_header_and_line_breaks() {
    let quoted = "id,firm,remark\nC-1,Alder,\"Spoke with Ann,\nwants \"\"two\"\" parts\"\nC-2,Birch,none\n\
                  C-3,Cedar,\"A long remark, with many words of prose in it, which ends with a full stop.\"\nC-4,Dogwood,none\n";
    for separator in [",", ";", "\t"] {
        let text = quoted
            .replace(',', separator)
            .replace("remark;", "remark,")
            .replace("Ann;", "Ann,");
        let document = Document::parse(&text);
        assert_eq!(document.units.len(), 5, "{:?}", texts(&text));
        for id in ["C-1", "C-2", "C-3", "C-4"] {
            assert!(
                lead_of(&document, id).unwrap().starts_with("id"),
                "{id} {separator:?}"
            );
        }
        assert!(document.units[1].text(&text).ends_with("parts\""));
    }
    let odd = "a,b,c\n1,2,3\n4,5,6\n7,8,9\n10,11,12,13\n14,15,16\n";
    assert_eq!(lead_of(&Document::parse(odd), "14"), Some("a,b,c"));
    let unclosed = "a,b,c\n1,\"2,3\n4,5,6\n7,8,9\n1,2,3\n";
    assert_eq!(texts(unclosed).len(), 5);
}

#[test]
fn tables_with_rules_keep_their_rows_whole() {
    let grid = "+------+--------+\n| Item | Notice |\n+======+========+\n| Pump | 75     |\n|      | days   |\n\
                +------+--------+\n| Van  | 30     |\n+------+--------+\n";
    let document = Document::parse(grid);
    assert_eq!(document.units.len(), 3);
    assert!(lead_of(&document, "days").unwrap().contains("Item"));

    let shell = "+----+------+\n| id | name |\n+----+------+\n|  1 | ann  |\n|  2 | bob  |\n|  3 | eve  |\n+----+------+\n";
    assert_eq!(texts(shell).len(), 4);

    let simple =
        "  Item      Notice\n--------  --------\n  Pump    75 days\n          in May\n  Van     30 days\n";
    let document = Document::parse(simple);
    assert_eq!(document.units.len(), 3, "{:?}", texts(simple));
    assert!(lead_of(&document, "in May").unwrap().contains("Notice"));

    let multiline = "-------------------------\nItem     Notice\n         period\n-------- ----------------\n\
                     Pump     75 days, in\n         winter 80\n\nVan      30 days\n-------------------------\n";
    let document = Document::parse(multiline);
    assert_eq!(document.units.len(), 3, "{:?}", texts(multiline));
    assert!(lead_of(&document, "winter").unwrap().contains("period"));
}

#[test]
fn cuts_an_html_table_in_one_line() {
    let text =
        "Before. <table><tr><th>Year</th></tr><tr><td>2019</td></tr><TR><td>2020</td></tr></table> After.";
    let document = Document::parse(text);
    assert_eq!(lead_of(&document, "2020"), Some("<table><tr><th>Year</th></tr>"));
    let kinds: Vec<SpanKind> = document.units.iter().map(|unit| unit.kind).collect();
    assert_eq!(
        kinds,
        [
            SpanKind::Sentence,
            SpanKind::Header,
            SpanKind::Row,
            SpanKind::Row,
            SpanKind::Sentence
        ]
    );
}

#[test]
fn keeps_json_elements_whole() {
    let record = |i: usize| format!("{{\"id\": {i}, \"text\": \"{}\"}}", "some words ".repeat(20));
    let text = format!("[{}]", (0..12).map(record).collect::<Vec<_>>().join(", "));
    let document = Document::parse(&text);
    assert_eq!(document.units.len(), 12);
    assert!(
        document
            .units
            .iter()
            .all(|unit| unit.kind == SpanKind::JsonElement)
    );
    assert!(document.units[3].text(&text).starts_with("{\"id\": 3"));
}

#[test]
fn case_21_records_of_json_lines_are_whole() {
    let record = |i: usize| {
        format!(
            "{{\"oid\":\"ORD-{i}\",\"tags\":[\"a\",\"b\"],\"note\":\"It broke. {}\"}}",
            "So it was. ".repeat(9)
        )
    };
    for separator in ["\n", "\n\n", ",\n"] {
        let text = (0..5).map(record).collect::<Vec<_>>().join(separator);
        assert_eq!(Document::parse(&text).units.len(), 5, "{separator:?}");
    }
    let rows = "[1, \"ann\", \"oslo\"]\n[2, \"bob\", \"rome\"]\n";
    assert_eq!(texts(rows), ["[1, \"ann\", \"oslo\"]", "[2, \"bob\", \"rome\"]"]);
    let long = (0..3)
        .map(|i| record(i).replace("So it was.", &"word ".repeat(30)))
        .collect::<Vec<_>>()
        .join("\n");
    let document = Document::parse(&long);
    let last = document.units.last().unwrap();
    assert!(
        document.units[last.lead.unwrap() as usize]
            .text(&long)
            .contains("ORD-2")
    );
}

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use proptest::prelude::*;

use super::*;

fn fold(text: &str) -> String {
    Folded::new(text).text().to_owned()
}

#[test]
fn case_24_ligatures_and_other_forms_of_letters_are_seen_through() {
    for (source, folded) in [
        (
            "A ﬂat ﬁne for an oﬄine aﬃdavit, staﬀ",
            "A flat fine for an offline affidavit, staff",
        ),
        ("ﻋﻘﺪ ﺍﻹﻳﺠﺎﺭ", "عقد الإيجار"),
        ("ＡＢＣ１２３ ｶﾞｽ", "ABC123 ガス"),
        ("𝐟𝐢𝐧𝐞 ſafe Ⅳ ①", "fine safe IV 1"),
        (
            "ofﬁce\u{ad}hours zero\u{200b}width \u{feff}mark",
            "officehours zerowidth mark",
        ),
        ("CO₂ 3 m² Haftung² Acme™ 1½ 5º", "CO2 3 m2 Haftung  Acme™ 1½ 5"),
        ("don’t non‑stop 3–4 — “so”", "don't non-stop 3-4 — “so”"),
        ("12\u{a0}EUR", "12 EUR"),
        ("كِتَابٌ كـتاب", "كتاب كتاب"),
    ] {
        assert_eq!(fold(source), folded);
    }
}

#[test]
fn case_26_composed_and_decomposed_accents_are_one() {
    for (decomposed, composed) in [
        ("re\u{301}siliation", "résiliation"),
        ("Ku\u{308}ndigung", "Kündigung"),
        ("hu\u{31b}\u{323}", "hự"),
        ("\u{1112}\u{1161}\u{11ab}", "한"),
        ("か\u{3099}", "が"),
        ("\u{212b}", "å".to_uppercase().as_str()),
    ] {
        assert_eq!(fold(decomposed), composed);
        assert_eq!(fold(composed), composed);
    }
}

#[test]
fn words_cut_at_the_end_of_a_line_are_joined() {
    assert_eq!(
        fold("the indem-\nnity and the indem-\r\n  nity"),
        "the indemnity and the indemnity"
    );
    assert_eq!(
        fold("the indem\u{ad}\nnity, indem¬\nnity, indem\u{2010}\nnity"),
        "the indemnity, indemnity, indemnity"
    );
    for kept in [
        "North-\nSouth",
        "2019-\n2020",
        "a list -\nitem",
        "Vor- und Nachteile",
        "end-\n\nof",
    ] {
        assert_eq!(fold(kept), kept);
    }
}

#[test]
fn plain_text_is_not_copied() {
    let folded = Folded::new("Plain text, well-known.");
    assert!(matches!(folded.text, Cow::Borrowed(_)) && folded.runs.is_empty());
}

#[test]
fn case_is_seen_through_beyond_ascii() {
    let lower = |text: &str| {
        let mut word = String::new();
        text.chars().for_each(|c| push_case_folded(c, &mut word));
        word
    };
    for (one, other) in [
        ("STRASSE", "Straße"),
        ("ΑΠΟΦΑΣΗΣ", "απόφασης"),
        ("ДОГОВОР", "договор"),
        ("ISTANBUL", "İstanbul"),
    ] {
        assert_eq!(lower(one), lower(other));
    }
}

proptest! {
    #[test]
    fn every_byte_comes_from_a_character_of_the_source(
        text in "(\\PC|[a-z \n-]|[\u{300}-\u{305}\u{ad}\u{200b}\u{fb00}-\u{fb06}\u{fe70}-\u{fefc}é¬-]){0,60}",
    ) {
        let folded = Folded::new(&text);
        let mut places: Vec<u32> = (0..folded.text().len() as u32).collect();
        folded.restore(places.iter_mut());
        prop_assert!(places.is_sorted());
        prop_assert!(places.iter().all(|&place| (place as usize) < text.len()));
        for (at, _) in folded.text().char_indices() {
            prop_assert!(text.is_char_boundary(places[at] as usize));
        }
        if text.is_ascii() && !text.contains('-') {
            prop_assert_eq!(folded.text(), &text);
        }
    }

    #[test]
    fn a_canonical_form_does_not_matter(text in "(\\PC){0,40}") {
        let composed: String = text.nfc().collect();
        let decomposed: String = text.nfd().collect();
        prop_assert_eq!(fold(&composed), fold(&decomposed));
    }
}

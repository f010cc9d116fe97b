//! Requests at the ends of a text, in any language, told from a document by how they read.

use serde_json::json;

use super::*;

/// Prose of a harbour in several languages, and requests about it.
#[rustfmt::skip]
const CASES: &[(&str, &[&str])] = &[
    ("Der Hafenmeister trug am Morgen die Tiefe der Fahrrinne in das Buch ein. Der Wind kam aus Norden, und die Boote lagen still hinter der Mole.",
        &["Wer hat die Tiefe eingetragen?", "Sag mir kurz, woher der Wind kam.", "Nenne den Tag, an dem Teer verkauft wurde."]),
    ("Le gardien du phare a compté les barques derrière la jetée pendant que le vent soufflait du nord. Les cordiers ont vendu trois tonneaux de goudron.",
        &["Qui a compté les barques ?", "Indique-moi le nombre de tonneaux vendus."]),
    ("Il capitano del porto annotò la profondità del canale nel registro. Le barche restavano ferme dietro il molo mentre il vento soffiava da nord.",
        &["Chi ha annotato la profondità?", "Dimmi da dove soffiava il vento."]),
    ("Смотритель маяка записал глубину канала в книгу. Ветер дул с севера, и лодки стояли за молом до самого вечера.",
        &["Кто записал глубину канала?", "Скажи, откуда дул ветер."]),
    ("Liman başkanı sabah kanalın derinliğini deftere yazdı. Rüzgâr kuzeyden esiyordu ve tekneler mendireğin arkasında bekliyordu.",
        &["Derinliği kim yazdı?", "Rüzgârın nereden estiğini söyle."]),
    ("Kapitan portu zapisał rano głębokość kanału w księdze. Wiatr wiał z północy, a łodzie stały spokojnie za falochronem.",
        &["Kto zapisał głębokość?", "Podaj, skąd wiał wiatr."]),
    ("港の管理人は朝に水路の深さを台帳に書き込んだ。風は北から吹き、船は防波堤の後ろで静かに待っていた。",
        &["深さを書き込んだのは誰ですか。", "風の向きを教えてください。"]),
    ("항만장은 아침에 수로의 깊이를 장부에 적었다. 바람은 북쪽에서 불었고 배들은 방파제 뒤에서 기다렸다.",
        &["깊이를 적은 사람은 누구인가요?", "바람의 방향을 알려 줘."]),
    ("سجل مدير الميناء عمق القناة في الدفتر صباحا. كانت الريح تهب من الشمال وبقيت القوارب خلف حاجز الأمواج.",
        &["من سجل عمق القناة؟", "أخبرني من أين هبت الريح."]),
];

fn prose(sentences: &str) -> String {
    let paragraph = |number: usize| format!("{sentences} {number}. {sentences}");
    (1..=40).map(paragraph).collect::<Vec<_>>().join("\n\n")
}

#[test]
fn a_request_behind_or_before_a_document_is_found_in_many_languages() {
    let mut faults = Vec::new();
    for (sentences, requests) in CASES {
        let doc = prose(sentences);
        for request in *requests {
            for content in [format!("{doc}\n\n{request}"), format!("{request}\n\n{doc}")] {
                let turn = turn(json!([say("user", content)]));
                if turn.asked().first() != Some(request) || turn.document() != doc {
                    faults.push(format!("{request}: {:?}", turn.asked()));
                }
            }
        }
    }
    assert!(
        faults.is_empty(),
        "{} faults\n{}",
        faults.len(),
        faults.join("\n")
    );
}

#[test]
fn a_document_alone_asks_nothing() {
    let faults: Vec<_> = CASES
        .iter()
        .map(|(sentences, _)| turn(json!([say("user", prose(sentences))])))
        .filter(|turn| !turn.asks.is_empty())
        .map(|turn| format!("{:?}", turn.asked()))
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn lists_and_closings_belong_to_the_request_before_them() {
    let doc = chronicle(200);
    for tail in [
        "Please answer:\n\n1. Who sold tar?\n\n2. Which day was it?",
        "Could you tell me who sold tar?\n\nThanks a lot,\nAnna",
        "Find these for me:\n\n- depth of the channel\n\n- price of tar",
    ] {
        let turn = turn(json!([say("user", format!("{doc}\n\n{tail}"))]));
        assert_eq!(turn.document(), doc, "{tail}");
    }
}

#[test]
fn a_transcript_that_ends_with_a_question_is_a_document() {
    let line = |number: usize| {
        format!(
            "Anna: I would dredge the channel near berth {number} before the winter sets in.\nBen: Not with the money that we have this year."
        )
    };
    let transcript =
        (1..80).map(line).collect::<Vec<_>>().join("\n") + "\nAnna: And who would pay for the boom";
    let turn = turn(json!([
        say("user", transcript.clone()),
        say("user", "What does Ben object to?")
    ]));
    assert_eq!(
        (turn.document(), turn.asked()),
        (transcript.as_str(), vec!["What does Ben object to?"])
    );
}

#[test]
fn columns_and_headings_at_an_end_ask_nothing_beside_a_question() {
    let question = "Does the agreement cap what the rope maker owes?";
    let ledger = chronicle(120);
    let signature = "-----------------------        --------------------- Name:  Ada Quill          Name: Title:     Keeper          Title:";
    for end in [signature, "NORTH QUAY LLC, as Buyer"] {
        let doc = format!("{ledger}\n\n{end}");
        let turn = turn(json!([say("system", question), say("user", doc)]));
        assert_eq!(turn.asked(), [question], "{end}");
    }
    let doc = format!("{ledger}\n\n{signature}\n\n{question}");
    assert_eq!(turn(json!([say("user", doc)])).asked(), [question]);
}

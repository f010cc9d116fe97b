use super::*;

const ENGLISH: &str = "This agreement is made between the supplier and the customer on the first of March. The supplier shall \
                       deliver the goods within thirty days of each order. If it fails to do so, the customer may cancel the \
                       order and recover what it has paid. What is not in this agreement was not agreed by the parties, and \
                       there is no other promise on which they have relied. Each of them is to keep the books that the other \
                       one may ask for, and does so at its own cost. ";
const GERMAN: &str = "Dieser Vertrag wird zwischen dem Lieferanten und dem Kunden am ersten März geschlossen. Der Lieferant \
                      liefert die Ware innerhalb von dreißig Tagen nach jeder Bestellung. Tut er es nicht, kann der Kunde die \
                      Bestellung stornieren und zurückverlangen, was er gezahlt hat. Das Recht des Landes, in dem der Kunde \
                      sitzt, gilt für die Auslegung des Vertrags. Wie hoch die Schulden bei der Bank sind und wer sie zu welchem \
                      Zeitpunkt um wie viel gesenkt hat, war das, was die Gruppe an dem Datum wissen wollte. ";
const CHINESE: &str = "本协议由供应商与客户于三月一日签订。供应商应在每份订单后三十天内交付货物。否则客户可以取消订单并要求退款。";

/// Questions as people ask them of contracts, meetings, annual reports and articles: English, German, French, Spanish.
const QUESTIONS: [[&str; 4]; 12] = [
    [
        "Which state's or country's law governs the interpretation of the contract?",
        "Welches Recht welches Staates oder Landes gilt für die Auslegung des Vertrags?",
        "Quel droit, de quel État ou pays, régit l'interprétation du contrat ?",
        "¿La ley de qué estado o país rige la interpretación del contrato?",
    ],
    [
        "The date of the contract",
        "Das Datum des Vertrags",
        "La date du contrat",
        "La fecha del contrato",
    ],
    [
        "Does a party have the right to audit the books, records, or physical locations of the counterparty?",
        "Hat eine Partei das Recht, Bücher, Unterlagen oder Räume der anderen Partei zu prüfen?",
        "Une partie a-t-elle le droit d'auditer les livres, les registres ou les locaux de l'autre partie ?",
        "¿Tiene una de las partes derecho a auditar los libros, registros o instalaciones de la otra?",
    ],
    [
        "What is the notice period?",
        "Wie lang ist die Kündigungsfrist?",
        "Quel est le délai de préavis ?",
        "¿Cuál es el plazo de preaviso?",
    ],
    [
        "What did the group conclude on LCD screens?",
        "Zu welchem Schluss kam die Gruppe bei den LCD-Bildschirmen?",
        "Qu'est-ce que le groupe a conclu sur les écrans LCD ?",
        "¿Qué concluyó el grupo sobre las pantallas LCD?",
    ],
    [
        "What did the professor think about MSG?",
        "Was hielt der Professor von MSG?",
        "Que pensait le professeur du MSG ?",
        "¿Qué pensaba el profesor sobre MSG?",
    ],
    [
        "Why did the project manager want voice recognition?",
        "Warum wollte der Projektleiter eine Spracherkennung?",
        "Pourquoi le chef de projet voulait-il la reconnaissance vocale ?",
        "¿Por qué quería el jefe de proyecto el reconocimiento de voz?",
    ],
    [
        "What was the change in other miscellaneous assets between 2018 and 2019?",
        "Wie veränderten sich die sonstigen Vermögenswerte zwischen 2018 und 2019?",
        "Quelle a été la variation des autres actifs divers entre 2018 et 2019 ?",
        "¿Cuál fue la variación de otros activos diversos entre 2018 y 2019?",
    ],
    [
        "What is the increase in the total debt?",
        "Um wie viel sind die gesamten Schulden gestiegen?",
        "De combien la dette totale a-t-elle augmenté ?",
        "¿Cuánto aumentó la deuda total?",
    ],
    [
        "What was the gross carrying value of computer software?",
        "Wie hoch war der Bruttobuchwert der Software?",
        "Quelle était la valeur comptable brute des logiciels ?",
        "¿Cuál era el valor contable bruto de los programas informáticos?",
    ],
    [
        "What is the second busiest airport in the United States?",
        "Welcher ist der zweitgrößte Flughafen in den Vereinigten Staaten?",
        "Quel est le deuxième aéroport le plus fréquenté des États-Unis ?",
        "¿Cuál es el segundo aeropuerto con más tráfico de los Estados Unidos?",
    ],
    [
        "Who led the Panthers in sacks?",
        "Wer führte die Panthers bei den Sacks an?",
        "Qui a mené les Panthers au nombre de sacks ?",
        "¿Quién lideró a los Panthers en capturas?",
    ],
];

fn differs(document: &str, question: &str) -> bool {
    differ(
        &Document::parse(&document.repeat(10)),
        &Asks::from_question(question),
    )
}

#[test]
fn questions_in_another_language_than_the_document_are_told() {
    let mut missed = Vec::new();
    for [english, others @ ..] in QUESTIONS {
        assert!(!differs(ENGLISH, english), "{english}");
        missed.extend(others.into_iter().filter(|other| !differs(ENGLISH, other)));
    }
    assert!(missed.is_empty(), "{missed:?}");
}

#[test]
fn questions_in_the_language_of_the_document_are_not() {
    for [english, german, ..] in QUESTIONS {
        assert!(!differs(GERMAN, german), "{german}");
        assert!(differs(GERMAN, english), "{english}");
    }
    // Languages that are written with the same characters share words that no space divides.
    assert!(!differs(CHINESE, "供应商何时交付货物？"));
    assert!(!differs(CHINESE, "納品の期限はいつですか？"));
    assert!(differs(ENGLISH, "供应商何时交付货物？"));
    assert!(differs(ENGLISH, "Когда поставщик должен поставить товар?"));
    assert!(differs(
        CHINESE,
        "When does the supplier have to deliver the goods?"
    ));
}

#[test]
fn what_is_of_no_language_and_what_both_languages_share_is_not_told() {
    for question in [
        "",
        "GDPR",
        "R2-D2 C-3PO",
        "2019?",
        "Café Müller GmbH",
        "MTBF",
        "supplier delivery",
        "How often does the committee meet under the charter?",
        "Which clause lets us audit their books?",
    ] {
        assert!(!differs(ENGLISH, question), "{question}");
    }
    // A contract in two languages answers in both.
    let both = format!("{ENGLISH}\n\n{GERMAN}");
    assert!(!differs(&both, "Was kann der Kunde zurückverlangen?"));
    // Too short to be of any language.
    assert!(!differ(
        &Document::parse("Total: 12"),
        &Asks::from_question("Wie hoch ist die Summe?")
    ));
}

#[test]
fn asks_that_count_little_decide_nothing() {
    let ask = |text: &str, weight| super::super::Ask::new(text, weight).ok();
    let document = ENGLISH.repeat(10);
    let differs = |asks: Vec<_>| {
        differ(
            &Document::parse(&document),
            &Asks::new(asks.into_iter().flatten().collect()),
        )
    };
    let german = "Innerhalb welcher Frist muss geliefert werden?";
    let english = "When is it to be delivered?";
    assert!(differs(vec![ask(german, 1.0), ask(english, 0.2)]));
    assert!(!differs(vec![ask(german, 1.0), ask(english, 0.6)]));
    assert!(!differs(vec![ask(german, 0.2), ask(english, 1.0)]));
}

#[test]
fn a_sample_is_bounded_and_from_all_over_the_document() {
    let text: String = (0..20_000)
        .map(|n| format!("Sentence number {n} is here. "))
        .collect();
    let document = Document::parse(&text);
    let sample = sample(&document);
    assert!(
        sample.len() <= SAMPLE_BYTES + 2 * SAMPLE_PIECES * 100,
        "{}",
        sample.len()
    );
    assert!(sample.contains("number 5 ") && sample.contains("number 183"));
}

#[test]
fn rows_and_records_are_of_no_language() {
    let question = "How many days of notice does Brightwater Ceramics have to give?";
    let rows = (0..200)
        .map(|n| format!("K-3{n:03}\tHazel Foods {n}\tA\t30\t211,97\tnachgereicht\n"))
        .collect::<String>();
    let table = format!("k_id\tfirm\tcl\tntc_d\tfee_k\tremark\n{rows}");
    let records = rows.replace("K-3", "{\"id\": \"K-3").replace('\n', "\"}\n");
    for text in [table, records] {
        let asks = Asks::new(super::super::Ask::new(question, 1.0).into_iter().collect());
        assert!(!differ(&Document::parse(&text), &asks), "{text}");
    }
}

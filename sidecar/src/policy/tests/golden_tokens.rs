/// Texts and their length in tokens of `o200k_base`, counted with tiktoken. The English ones are from CUAD
/// (CC BY 4.0), QMSum (MIT) and TAT-QA (CC BY 4.0).
const GOLDEN: &[(&str, u32)] = &[
    ("CRO represents that there is no conflict of interest between performance of this Agreement and the performance of services by CRO for any other party. In the event that CRO believes that there is presently any such conflict, or any such conflict arises during the term of this Agreement, CRO will immediately notify Client which may, at its sole discretion, immediately terminate this Agreement without liability to CRO. 11.0 Notices 11.1. Any notice will be in writing and will be given by registere", 98),
    ("So I was just realizing we've You guys have been talking about \" he \" um for at least uh, I don't know, three three four minutes without ever mentioning the person's name again.\nPhD C: I believe it. Yeah. Actually to make it worse, uh, Morgan uses \" you \" and \" you \"\nPhD F: So this is this is this is gonna be a big, big problem if you want to later do uh, you know, indexing, or speech understanding of any sort.\nGrad G: It's in my notes.\nPhD C: with gaze and no identification, or I just wrote thi", 125),
    ("DEBT AND OTHER FINANCING ARRANGEMENTS\n2021 Senior Convertible Notes\nIn 2017, the Company issued $300.0 million principal amount of 5.75% senior convertible notes (the “2021 Notes”) for a purchase price equal to 98% of the principal amount. The Company received net proceeds of $284.9 million, net of a discount of $6.0 million and issuance costs of $9.1 million. The debt discount is being accreted to interest expense over the term of the 2021 Notes using the interest method. The issuance costs wer", 123),
    ("def mean(values: list[float]) -> float:\n    \"\"\"Arithmetic mean.\"\"\"\n    if not values:\n        raise ValueError(\"no values\")\n    return sum(values) / len(values)\n", 38),
    ("[{\"id\": 0, \"name\": \"item 0\", \"price\": 0.0}, {\"id\": 1, \"name\": \"item 1\", \"price\": 1.25}, {\"id\": 2, \"name\": \"item 2\", \"price\": 2.5}, {\"id\": 3, \"name\": \"item 3\", \"price\": 3.75}, {\"id\": 4, \"name\": \"item 4\", \"price\": 5.0}, {\"id\": 5, \"name\": \"item 5\", \"price\": 6.25}, {\"id\": 6, \"name\": \"item 6\", \"price\": 7.5}, {\"id\": 7, \"name\": \"item 7\", \"price\": 8.75}]", 177),
    ("Der Lieferant haftet für Schäden, die durch eine verspätete Lieferung entstehen, sofern er die Verspätung zu vertreten hat. Die Haftung ist auf die Höhe der Vergütung begrenzt.", 42),
    ("Le fournisseur est responsable des dommages causés par un retard de livraison, dans la limite du prix convenu entre les parties au contrat.", 27),
    ("El proveedor responderá de los daños causados por el retraso en la entrega, hasta el límite del precio acordado entre las partes del contrato.", 30),
    ("Поставщик несёт ответственность за убытки, вызванные просрочкой поставки, в пределах согласованной цены договора.", 29),
    ("供应商应对因延迟交货造成的损失承担责任，但以合同约定的价格为限。买方应在收到货物后十日内检验。", 39),
    ("供給者は、納品の遅延によって生じた損害について、契約で合意した価格を上限として責任を負うものとします。", 41),
    ("공급자는 계약에서 합의한 가격을 한도로 납품 지연으로 인한 손해에 대하여 책임을 진다.", 30),
    ("يتحمل المورد المسؤولية عن الأضرار الناجمة عن التأخر في التسليم في حدود السعر المتفق عليه في العقد.", 26),
];

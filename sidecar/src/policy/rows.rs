//! Questions that every row of a table must answer: counts, totals, extremes, averages, comparisons.
//!
//! Over rows "How many invoices are overdue?" is computed, in prose "How many shares were issued?" is a fact that
//! stands in a sentence: the same words, told apart by the document. One row is a fact as well: a question with a
//! word that stands in one row alone ("How many employees does Brightwater have?") asks for that row.

use memchr::memmem;

use crate::reading::has_phrase;

/// Bytes of a document that are looked at for its rows.
const SAMPLE: usize = 64 << 10;
/// Fewer rows are no table.
const ROWS: usize = 8;
/// Titles and headers are among so many first lines.
const HEADERS: usize = 3;
/// Forms of lines that are told apart; a table's is among the first.
const FORMS: usize = 64;
/// The longest row, in bytes.
const LONGEST: usize = 500;

/// Words of counts, totals, averages, extremes and comparisons, by their stems; each must start a word.
#[rustfmt::skip]
const AGGREGATES: &[&str] = &[
    // English
    "how many", "how much in total", "total", "sum of", "sum up", "summed", "add up", "altogether", "in all", "overall",
    "combined", "count", "number of", "average", "mean of", "the mean ", "median", "highest", "lowest", "largest",
    "biggest", "smallest", "greatest", "most", "fewest", "the least", "cheapest", "priciest", "latest", "earliest",
    "newest", "oldest", "youngest", "longest", "shortest", "fastest", "slowest", "heaviest", "lightest", "best",
    "worst", "richest", "closest", "furthest", "farthest", "maximum", "minimum", "max ", "min ", "top ", "bottom ",
    "rank", "sort", "order by", "compare", "percentage", "per cent", "percent of", "share of", "proportion", "ratio of",
    "distribution", "breakdown", "group by", "all of them", "all the", "each ", "every ", "which are", "list the",
    "list of", "who are", "what are the", "any of", "are there any", "is there any", "none of", "unique", "distinct",
    "duplicate", "more than", "less than", "fewer than", "greater than", "at least", "at most", "above ", "below ",
    "exceed", "between ", "difference", "trend", "outlier", "how often", "how frequently", "of all ", "across all",
    "timeline of",
    // German
    "wie viel", "wieviel", "aller ", "von allen", "anzahl", "summe", "gesamt", "insgesamt", "zusammen", "durchschnitt", "mittelwert",
    "im mittel", "median", "höchste", "niedrigste", "größte", "grösste", "kleinste", "meiste", "am meisten", "wenigste",
    "am wenigsten", "teuerste", "billigste", "günstigste", "späteste", "früheste", "neueste", "neuste", "älteste",
    "jüngste", "längste", "kürzeste", "schnellste", "langsamste", "schwerste", "leichteste", "beste", "schlechteste",
    "letzte", "maxim", "minim", "rangfolge", "sortier", "vergleich", "prozent", "anteil", "verteilung", "alle ",
    "jede", "sämtliche", "welche sind", "mehr als", "weniger als", "mindestens", "höchstens", "über ", "unter ",
    "differenz", "unterschied", "gibt es", "doppelt", "zähl",
    // French
    "combien", "nombre de", "nombre d'", "total", "somme", "montant cumulé", "au total", "en tout", "moyen", "médian",
    "le plus", "la plus", "les plus", "le moins", "la moins", "les moins", "maxim", "minim", "dernier", "dernière",
    "premier", "première", "meilleur", "pire", "classe", "trie", "compar", "pourcentage", "part de", "répartition",
    "tous les", "toutes les", "chaque", "plus de", "moins de", "au moins", "au plus", "supérieur", "inférieur",
    "différence", "y a-t-il", "cumul",
    // Spanish
    "cuánt", "cuant", "número de", "numero de", "total", "suma", "en total", "promedio", "media de", "la media",
    "mediana", "el más", "la más", "los más", "las más", "más alt", "más baj", "más car", "más barat", "más antigu",
    "más recient", "más larg", "más cort", "más venta", "más", "menos", "mayor", "menor", "máxim", "mínim", "último",
    "última", "primer", "mejor", "peor", "clasifica", "ordena", "compar", "porcentaje", "proporción", "todos los",
    "todas las", "cada ", "al menos", "diferencia", "hay algun",
    // Others, their commonest
    "quant", "totale", "somma", "media", "più ", "maggior", "minor", "ogni ", "soma", "média", "maior", "cada",
    "hoeveel", "totaal", "hoogste", "laagste", "gemiddeld", "meeste", "duurste", "goedkoopste", "ile ", "suma",
    "najwięk", "najwyż", "najniż", "średni", "hur många", "högst", "lägst", "totalt", "сколько", "всего", "сумм",
    "средн", "наибольш", "наименьш", "самый", "самая", "скільки", "найбільш", "kaç", "toplam", "en yüksek", "كم",
    "कितने", "कुल", "berapa", "bao nhiêu", "nhiều nhất",
    "多少", "几", "幾", "总", "總", "合计", "合計", "平均", "最高", "最低", "最大", "最小", "最", "いくつ", "何件", "何人",
    "何個", "最も", "몇", "합계", "평균", "가장",
];

/// Words that choose one of many.
const CHOOSING: &[&str] = &[
    "which", "who", "welche", "welcher", "welches", "wer", "quel", "quelle", "quels", "quelles", "qui",
    "qué", "quién", "cuál",
];

/// Stems of extremes that are ones behind a word that chooses: "welche Zahlung war die höchstmögliche".
const EXTREMES: &[&str] = &[
    "höchst",
    "niedrigst",
    "größt",
    "kleinst",
    "meist",
    "teuerst",
    "billigst",
    "günstigst",
    "neuest",
    "ältest",
    "längst",
    "kürzest",
];

/// Returns whether the question is one that every row of the document must answer.
pub(super) fn asks_every_row(question: &str, document: &str) -> bool {
    let question = question.to_lowercase();
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| has_phrase(&question, phrase));
    let first = question.split_whitespace().next().unwrap_or_default();
    let chooses = CHOOSING.contains(&first.trim_matches(|c: char| !c.is_alphanumeric()));
    let ranges = says(AGGREGATES) || (chooses && says(EXTREMES));
    ranges && has_rows(document) && !names_one_row(&question, document)
}

/// Returns true if at least half of a document's text is rows: lines of one form.
fn has_rows(document: &str) -> bool {
    let sample = &document[..document.floor_char_boundary(SAMPLE)];
    let trimmed = sample.trim_start();
    if trimmed.starts_with(['{', '[']) && memmem::find_iter(sample.as_bytes(), "\":").count() >= 2 * ROWS {
        return true;
    }
    if memmem::find_iter(sample.as_bytes(), "<tr").count() >= ROWS {
        return true;
    }
    let lines = || {
        sample
            .lines()
            .map(str::trim)
            .filter(|line| line.contains(char::is_alphanumeric))
    };
    let all: usize = lines().map(str::len).sum();
    // Lines by their form, and the bytes in them.
    let mut forms: Vec<(Form<'_>, usize, usize)> = Vec::new();
    for line in lines().filter(|line| line.len() <= LONGEST) {
        for form in Form::read(line) {
            let known = forms.iter().position(|(other, ..)| *other == form);
            match known {
                Some(at) => {
                    forms[at].1 += 1;
                    forms[at].2 += line.len();
                }
                None if forms.len() < FORMS => forms.push((form, 1, line.len())),
                None => {}
            }
        }
    }
    forms
        .iter()
        .any(|(_, rows, bytes)| *rows >= ROWS && bytes * 2 >= all)
}

/// What the rows of a table have in common.
#[derive(PartialEq, Eq)]
enum Form<'a> {
    /// The same cells: separators of one kind, so many of them.
    Cells(char, usize),
    /// The same first word and as many numbers.
    Start(&'a str, usize),
}

impl<'a> Form<'a> {
    /// Reads the forms that a line has. A comma or point within a number separates nothing.
    fn read(line: &'a str) -> impl Iterator<Item = Self> {
        let cells = ['|', '\t', ';', ',', ':'].into_iter().filter_map(|separator| {
            let count = line
                .split(separator)
                .skip(1)
                .filter(|rest| separates(separator, rest))
                .count();
            // One comma or colon is a sentence's.
            let enough = count >= if matches!(separator, ',' | ':') { 2 } else { 1 };
            enough.then_some(Self::Cells(separator, count))
        });
        let first = line.split_whitespace().next().unwrap_or_default();
        let word = first.trim_matches(|c: char| !c.is_alphabetic());
        let numbers = line.split(|c: char| !(c.is_ascii_digit() || ".,".contains(c)));
        let numbers = numbers
            .filter(|word| word.contains(|c: char| c.is_ascii_digit()))
            .count();
        let start = (numbers > 0).then_some(Self::Start(word, numbers));
        cells.chain(start)
    }
}

fn separates(separator: char, behind: &str) -> bool {
    !(matches!(separator, ',' | ':')
        && behind.starts_with(|c: char| c.is_ascii_digit())
        && !behind.contains(' '))
}

/// Returns true if a word of the question stands in one row of the document alone: a number, a name or a key of
/// that row. Headers are no rows: they are among the first lines and hold no number.
fn names_one_row(question: &str, document: &str) -> bool {
    let lower = document.to_lowercase();
    let words = question
        .split(|c: char| !(c.is_alphanumeric() || "-_/.".contains(c)))
        .map(|word| word.trim_matches(['-', '_', '/', '.']))
        .filter(|word| word.chars().count() >= 3 || word.contains(|c: char| c.is_ascii_digit()));
    words.into_iter().any(|word| {
        let aggregate = AGGREGATES
            .iter()
            .any(|phrase| phrase.starts_with(word) || word.starts_with(phrase.trim()));
        !aggregate && stands_in_one_row(&lower, word)
    })
}

fn stands_in_one_row(document: &str, word: &str) -> bool {
    let whole = |at: &usize| {
        let before = document[..*at].chars().next_back();
        let behind = document[*at + word.len()..].chars().next();
        ![before, behind].into_iter().flatten().any(char::is_alphanumeric)
    };
    let mut rows = memmem::find_iter(document.as_bytes(), word)
        .filter(whole)
        .map(|at| {
            let start = document[..at].rfind('\n').map_or(0, |line| line + 1);
            let end = document[at..].find('\n').map_or(document.len(), |line| at + line);
            start..end
        });
    let Some(row) = rows.next() else {
        return false;
    };
    let line = &document[row.clone()];
    let header = document[..row.start]
        .lines()
        .filter(|line| !line.trim().is_empty())
        .nth(HEADERS - 1)
        .is_none()
        && !line.contains(|c: char| c.is_ascii_digit());
    rows.all(|other| other == row) && line.len() <= LONGEST && !header
}

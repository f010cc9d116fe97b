//! Arrows between rooms that stand beside each other, and the circles in them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::source::{self, Modules};

/// An import that leads from one room into another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Import {
    pub(super) from: String,
    pub(super) to: String,
    /// The path that is imported, from the crate's root.
    pub(super) name: String,
    pub(super) file: PathBuf,
}

/// Rooms of which each can be reached from each other, and the imports between them.
pub(super) struct Circle {
    pub(super) rooms: Vec<String>,
    pub(super) imports: Vec<Import>,
}

/// All imports between rooms, by their ends.
#[derive(Default)]
pub(super) struct Arrows {
    imports: BTreeMap<(String, String), BTreeSet<Import>>,
    /// Rooms that have modules below them.
    folders: BTreeSet<String>,
}

impl Arrows {
    pub(super) fn new(modules: &Modules) -> Self {
        let mut arrows = Self::default();
        for (from, module) in modules {
            let above = from.split_last().map(|(_, above)| above.to_vec());
            let in_files_below =
                |above: &Vec<String>| modules.get(above).is_some_and(|it| it.file != module.file);
            let folder = above.filter(in_files_below);
            arrows.folders.extend(folder.map(|above| above.join("/")));
            for path in &module.imports {
                let to = source::resolve(modules, path);
                if let Some((from, to)) = apart(from, &to) {
                    let import = Import {
                        from: from.clone(),
                        to: to.clone(),
                        name: path.join("::"),
                        file: module.file.clone(),
                    };
                    arrows.imports.entry((from, to)).or_default().insert(import);
                }
            }
        }
        arrows
    }

    /// Takes an arrow out; false if there is none.
    pub(super) fn remove(&mut self, from: &str, to: &str) -> bool {
        self.imports.remove(&(from.to_owned(), to.to_owned())).is_some()
    }

    /// Each room that imports, with what it imports.
    pub(super) fn rooms(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut rooms = BTreeMap::<&str, Vec<&str>>::new();
        for (from, to) in self.imports.keys() {
            rooms.entry(from).or_default().push(to);
        }
        rooms
    }

    /// The strongly connected parts that have more than one room, unless these are mere files of one folder.
    pub(super) fn circles(&self) -> Vec<Circle> {
        let rooms = self.rooms();
        let reached = rooms
            .keys()
            .map(|room| (*room, reachable(&rooms, room)))
            .collect::<BTreeMap<_, _>>();
        let reaches = |from: &str, to: &str| reached.get(from).is_some_and(|all| all.contains(to));
        let mut seen = BTreeSet::new();
        let mut circles = Vec::new();
        for room in rooms.keys().filter(|room| reaches(room, room)) {
            let members = rooms
                .keys()
                .filter(|other| reaches(room, other) && reaches(other, room));
            let members = members.copied().collect::<BTreeSet<_>>();
            let files = |room: &&str| room.contains('/') && !self.folders.contains(*room);
            if !members.iter().all(files) && seen.insert(members.clone()) {
                let within = |(from, to): &(String, String)| {
                    members.contains(from.as_str()) && members.contains(to.as_str())
                };
                let imports = self.imports.iter().filter(|(ends, _)| within(ends));
                circles.push(Circle {
                    rooms: members.iter().map(|room| (*room).to_owned()).collect(),
                    imports: imports.flat_map(|(_, imports)| imports.iter().cloned()).collect(),
                });
            }
        }
        circles
    }
}

fn reachable<'r>(rooms: &BTreeMap<&'r str, Vec<&'r str>>, from: &str) -> BTreeSet<&'r str> {
    let mut found = BTreeSet::new();
    let mut next = rooms.get(from).cloned().unwrap_or_default();
    while let Some(room) = next.pop() {
        if found.insert(room) {
            next.extend(rooms.get(room).into_iter().flatten());
        }
    }
    found
}

/// The two rooms beside each other in which these modules are; none where one contains the other.
fn apart(from: &[String], to: &[String]) -> Option<(String, String)> {
    let same = from.iter().zip(to).take_while(|(a, b)| a == b).count();
    let room = |path: &[String]| Some(path.get(..=same)?.join("/"));
    Some((room(from)?, room(to)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The circles of a crate with these files.
    fn circles(files: &[(&str, &str)]) -> anyhow::Result<Vec<Vec<String>>> {
        let folder = tempfile::tempdir()?;
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap_or(folder.path()))?;
            std::fs::write(path, text)?;
        }
        let arrows = Arrows::new(&source::read(folder.path())?);
        Ok(arrows.circles().into_iter().map(|circle| circle.rooms).collect())
    }

    #[test]
    fn finds_a_circle_through_names_that_a_module_hands_on() -> anyhow::Result<()> {
        let files = [
            ("lib.rs", "mod a; mod b; mod c;"),
            ("a.rs", "mod inner; pub(crate) use inner::Thing;"),
            (
                "a/inner.rs",
                "pub struct Thing; fn f() { println!(\"{}\", crate::c::g()) }",
            ),
            ("b.rs", "use crate::a::{self, Thing};"),
            ("c.rs", "pub fn g() -> u8 { crate::b::h() }"),
        ];
        assert_eq!(circles(&files)?, [["a", "b", "c"]]);
        Ok(())
    }

    #[test]
    fn leaves_tests_children_and_files_of_one_folder_alone() -> anyhow::Result<()> {
        let files = [
            ("lib.rs", "mod a; mod b;"),
            (
                "a.rs",
                "mod x; mod y; pub struct Up; #[cfg(test)] mod tests { use crate::b::B; }",
            ),
            ("a/x.rs", "use super::Up; use super::y::Y; pub struct X;"),
            ("a/y.rs", "use super::x::X; pub struct Y;"),
            ("b.rs", "use crate::a::Up; pub struct B;"),
        ];
        assert!(circles(&files)?.is_empty());
        let folder = [
            files.as_slice(),
            &[
                ("a/y/z.rs", ""),
                ("a/y.rs", "mod z; use super::x::X; pub struct Y;"),
            ],
        ];
        assert_eq!(circles(&folder.concat())?, [["a/x", "a/y"]]);
        Ok(())
    }
}

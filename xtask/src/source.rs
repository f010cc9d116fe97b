//! Reads a crate's modules from its sources: what each holds and what it imports. Tests are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use syn::visit::Visit;
use syn::{Attribute, Item, ItemMod, ItemUse, Macro, UseTree};

/// A module by its path from the crate's root, which itself is the empty path.
pub(crate) type Modules = BTreeMap<Vec<String>, Module>;

/// What is known of one module.
#[derive(Default)]
pub(crate) struct Module {
    pub(crate) file: PathBuf,
    /// Paths that it names, from the crate's root, whether in a `use` or where they are used.
    pub(crate) imports: BTreeSet<Vec<String>>,
    /// Names that it brings into its scope, and what they stand for.
    scope: BTreeMap<String, Vec<String>>,
    /// What it holds.
    pub(crate) items: Vec<Item>,
}

/// All modules of the crate whose sources are in this folder.
pub(crate) fn read(folder: &Path) -> Result<Modules> {
    let roots = ["lib.rs", "main.rs"].map(|name| folder.join(name));
    let Some(root) = roots.iter().find(|root| root.is_file()) else {
        bail!("{} has neither lib.rs nor main.rs", folder.display());
    };
    let mut modules = Modules::new();
    read_file(&mut modules, root, folder, Vec::new())?;
    Ok(modules)
}

/// The module that a path leads to, through what other modules bring into their scope.
pub(crate) fn resolve(modules: &Modules, path: &[String]) -> Vec<String> {
    let mut path = path.to_vec();
    // As many steps as a chain of re-exports can sensibly have: two modules may import each other's names.
    for _ in 0..8 {
        let depth = (0..path.len())
            .take_while(|depth| path.get(..=*depth).is_some_and(|path| modules.contains_key(path)))
            .count();
        let (found, rest) = path.split_at(depth);
        let target = rest.first().and_then(|name| modules.get(found)?.scope.get(name));
        match target {
            Some(target) if target.as_slice() != path => {
                path = [target, rest.get(1..).unwrap_or_default()].concat()
            }
            _ => return found.to_vec(),
        }
    }
    path
}

/// The module in which a path leads to something that this module can name.
pub(crate) fn resolve_from(modules: &Modules, module: &[String], path: &[String]) -> Vec<String> {
    let names = modules.get(module).into_iter().flat_map(|module| &module.scope);
    let first = path.first().map(String::as_str).unwrap_or_default();
    let absolute = match names.into_iter().find(|(name, _)| *name == first) {
        Some((_, target)) => [target.as_slice(), path.get(1..).unwrap_or_default()].concat(),
        None => [module, path].concat(),
    };
    resolve(modules, &absolute)
}

/// Reads a file and the files of the modules that it declares; `below` is the folder in which those lie.
fn read_file(modules: &mut Modules, file: &Path, below: &Path, path: Vec<String>) -> Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let parsed = syn::parse_file(&text).with_context(|| format!("cannot parse {}", file.display()))?;
    read_items(modules, parsed.items, file, below, path)
}

fn read_items(
    modules: &mut Modules,
    items: Vec<Item>,
    file: &Path,
    below: &Path,
    path: Vec<String>,
) -> Result<()> {
    let mut items = items
        .into_iter()
        .filter(|item| !is_test(attributes(item)))
        .collect::<Vec<_>>();
    let inner = items.iter_mut().filter_map(|item| match item {
        Item::Mod(module) => Some((module.ident.to_string(), module.content.take())),
        _ => None,
    });
    let inner = inner.collect::<Vec<_>>();
    let mut names = Names {
        path: &path,
        children: inner.iter().map(|(name, _)| name.clone()).collect(),
        module: Module {
            file: file.to_owned(),
            ..Module::default()
        },
    };
    items.iter().for_each(|item| names.visit_item(item));
    let module = Module {
        items,
        ..names.module
    };
    modules.insert(path.clone(), module);
    for (name, content) in inner {
        let path = [path.as_slice(), std::slice::from_ref(&name)].concat();
        let inside = below.join(&name);
        match content {
            Some((_, items)) => read_items(modules, items, file, &inside, path)?,
            None => {
                let files = [below.join(format!("{name}.rs")), inside.join("mod.rs")];
                let found = files.iter().find(|file| file.is_file());
                let found = found.with_context(|| format!("{}: no file of {name}", file.display()))?;
                read_file(modules, found, &inside, path)?;
            }
        }
    }
    Ok(())
}

/// Collects the paths that a module names.
struct Names<'m> {
    path: &'m [String],
    children: BTreeSet<String>,
    module: Module,
}

impl Names<'_> {
    /// The path from the crate's root; none if it leads into another crate.
    fn absolute(&self, path: &[String]) -> Option<Vec<String>> {
        let (first, rest) = path.split_first()?;
        let base = match first.as_str() {
            "crate" => Vec::new(),
            "self" => self.path.to_vec(),
            "super" => {
                let above = self.path.split_last()?.1;
                let further = rest.iter().take_while(|name| *name == "super").count();
                let above = above.get(..above.len().checked_sub(further)?)?;
                return Some([above, rest.get(further..)?].concat());
            }
            child if self.children.contains(child) => [self.path, std::slice::from_ref(first)].concat(),
            _ => return None,
        };
        Some([base.as_slice(), rest].concat())
    }

    fn add(&mut self, path: &[String]) -> Option<Vec<String>> {
        let path = self.absolute(path)?;
        self.module.imports.insert(path.clone());
        Some(path)
    }

    fn add_tree(&mut self, tree: &UseTree, mut path: Vec<String>) {
        let alias = match tree {
            UseTree::Path(branch) => {
                path.push(branch.ident.to_string());
                return self.add_tree(&branch.tree, path);
            }
            UseTree::Group(group) => {
                return group
                    .items
                    .iter()
                    .for_each(|tree| self.add_tree(tree, path.clone()));
            }
            UseTree::Name(name) => name.ident.to_string(),
            UseTree::Rename(rename) => rename.rename.to_string(),
            UseTree::Glob(_) => String::new(),
        };
        match tree {
            UseTree::Name(name) if name.ident != "self" => path.push(name.ident.to_string()),
            UseTree::Rename(rename) => path.push(rename.ident.to_string()),
            _ => {}
        }
        let alias = if alias == "self" {
            path.last().cloned().unwrap_or_default()
        } else {
            alias
        };
        if let Some(path) = self.add(&path) {
            self.module.scope.insert(alias, path);
        }
    }
}

impl<'a> Visit<'a> for Names<'_> {
    /// A module of its own.
    fn visit_item_mod(&mut self, _: &'a ItemMod) {}

    fn visit_item_use(&mut self, item: &'a ItemUse) {
        self.add_tree(&item.tree, Vec::new());
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let names = path.segments.iter().map(|segment| segment.ident.to_string());
        let names = names.collect::<Vec<_>>();
        if ["crate", "self", "super"]
            .iter()
            .any(|first| names.len() > 1 && names.first().is_some_and(|name| name == first))
        {
            self.add(&names);
        }
        syn::visit::visit_path(self, path);
    }

    /// What a macro gets has no grammar: words that are joined by colons and begin at the crate or above.
    fn visit_macro(&mut self, item: &'a Macro) {
        let text = item.tokens.to_string().replace("::", " :: ");
        let words = text.split_whitespace().collect::<Vec<_>>();
        for (at, word) in words
            .iter()
            .enumerate()
            .filter(|(_, word)| ["crate", "super"].contains(word))
        {
            let rest = words.get(at + 1..).unwrap_or_default().chunks_exact(2);
            let names = rest
                .take_while(|pair| pair.first() == Some(&"::"))
                .filter_map(|pair| pair.get(1));
            let path = std::iter::once(word).chain(names).map(|name| (*name).to_owned());
            self.add(&path.collect::<Vec<_>>());
        }
    }
}

/// Whether an item is compiled for tests alone.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let mut test = false;
        let cfg = attribute.path().is_ident("cfg");
        let parsed = attribute.parse_nested_meta(|meta| {
            test |= meta.path.is_ident("test");
            Ok(())
        });
        cfg && parsed.is_ok() && test
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

//! What the pages and the code say of each other's places is true: links lead to files and headings that are there, and a page
//! that code cites exists.

use std::collections::HashMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All files of the project with one of `suffixes`, relative to its root.
fn files(suffixes: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let entry = entry.expect("an entry");
            let name = entry.file_name().into_string().expect("a name in UTF-8");
            if name == "target" || (name.starts_with('.') && name != ".ci") {
                continue;
            }
            if entry.file_type().expect("a type").is_dir() {
                folders.push(entry.path());
            } else if suffixes.iter().any(|suffix| name.ends_with(suffix)) {
                let path = entry.path();
                found.push(path.strip_prefix(root()).expect("below the root").to_path_buf());
            }
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(root().join(path)).expect("text")
}

/// The text without what stands in fences and between backticks, where a bracket is no link.
fn prose(text: &str) -> String {
    let mut out = String::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            for part in line.split('`').step_by(2) {
                out.push_str(part);
                // So that what was around a piece of code does not grow together.
                out.push('x');
            }
        }
        out.push('\n');
    }
    out
}

/// Targets of `[text](target)`.
fn links(text: &str) -> Vec<String> {
    let prose = prose(text);
    prose
        .match_indices("](")
        .filter_map(|(at, _)| {
            let rest = prose.get(at + 2..)?;
            Some(rest.get(..rest.find(')')?)?.to_owned())
        })
        .collect()
}

/// The names that a page's headings have in a link, as GitHub makes them.
fn anchors(text: &str) -> Vec<String> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut fenced = false;
    let mut found = Vec::new();
    for line in text.lines() {
        fenced ^= line.trim_start().starts_with("```");
        let Some(title) = line.strip_prefix('#').filter(|_| !fenced) else {
            continue;
        };
        let slug: String = title
            .trim_start_matches('#')
            .trim()
            .to_lowercase()
            .chars()
            .filter_map(|c| match c {
                ' ' => Some('-'),
                '-' | '_' => Some(c),
                c if c.is_alphanumeric() => Some(c),
                _ => None,
            })
            .collect();
        let times = seen.entry(slug.clone()).or_default();
        found.push(match *times {
            0 => slug,
            n => format!("{slug}-{n}"),
        });
        *times += 1;
    }
    found
}

/// `path` without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                out.pop();
            }
            Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}

#[test]
fn links_lead_somewhere() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for page in files(&[".md"]) {
        let text = read(&page);
        for link in links(&text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            count += 1;
            let (target, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let to = if target.is_empty() {
                page.clone()
            } else {
                plain(&page.parent().expect("a folder").join(target))
            };
            if !root().join(&to).exists() {
                wrong.push(format!("{}: {link}: no such file", page.display()));
            } else if !anchor.is_empty() && !anchors(&read(&to)).iter().any(|a| a == anchor) {
                wrong.push(format!("{}: {link}: no such heading", page.display()));
            }
        }
    }
    assert!(count > 20, "links were found: {count}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn cited_pages_exist() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for source in files(&[".rs", ".toml", ".md", ".py", ".sql", ".x", ".sh"]) {
        let text = read(&source);
        for (at, _) in text.match_indices("docs/") {
            let before = text.get(..at).and_then(|t| t.chars().next_back());
            // Of another project, or a longer path.
            if before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '/' | '-' | '.' | '_')) {
                continue;
            }
            let rest = text.get(at..).unwrap_or_default();
            let end = rest
                .find(|c: char| !(c.is_alphanumeric() || matches!(c, '/' | '-' | '.' | '_')))
                .unwrap_or(rest.len());
            let cited = rest.get(..end).unwrap_or_default().trim_end_matches('.');
            count += 1;
            // `docs/decisions/0006` stands for the one file that begins so.
            let (folder, name) = cited.rsplit_once('/').unwrap_or((cited, ""));
            let there = fs::read_dir(root().join(folder)).is_ok_and(|mut entries| {
                entries.any(|entry| {
                    let file = entry.expect("an entry").file_name();
                    let file = file.to_string_lossy();
                    file == name
                        || file
                            .strip_prefix(name)
                            .is_some_and(|r| r.starts_with('-') || name.is_empty())
                })
            });
            if !there {
                wrong.push(format!("{}: {cited}", source.display()));
            }
        }
    }
    assert!(count > 200, "citations were found: {count}");
    assert!(wrong.is_empty(), "cited and not there:\n{}", wrong.join("\n"));
}

#[test]
fn every_page_is_listed() {
    let index = read(Path::new("docs/README.md"));
    let listed = links(&index);
    let missing: Vec<_> = files(&[".md"])
        .into_iter()
        .filter(|page| page.starts_with("docs") && page.parent() == Some(Path::new("docs")))
        .filter_map(|page| Some(page.file_name()?.to_str()?.to_owned()))
        .filter(|name| name != "README.md" && !listed.contains(name))
        .collect();
    assert!(missing.is_empty(), "docs/README.md does not list {missing:?}");
}

#[test]
fn the_reader_of_pages_can_see() {
    let page = "# One: two `three`\n\n[a](b.md#c) `[no](x)` and [d](#e)\n```\n# no\n[no](y)\n```\n## One: two `three`\n";
    assert_eq!(links(page), ["b.md#c", "#e"]);
    assert_eq!(anchors(page), ["one-two-three", "one-two-three-1"]);
}

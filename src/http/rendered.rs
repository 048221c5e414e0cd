//! Cache of pages that were rendered from the catalog. A change of the catalog invalidates all of
//! them.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

/// Rendered pages of one generation of the catalog, by query string.
#[derive(Debug)]
pub struct RenderedPages<T>(Mutex<RenderedByQuery<T>>);

#[derive(Debug)]
struct RenderedByQuery<T> {
    generation: u64,
    by_query: HashMap<Box<str>, Arc<T>>,
}

impl<T> Default for RenderedPages<T> {
    fn default() -> Self {
        Self(Mutex::new(RenderedByQuery { generation: 0, by_query: HashMap::new() }))
    }
}

impl<T> RenderedPages<T> {
    /// Maximum number of pages. With 1,000 tickets on each page they take 13 MB, and their
    /// compressed forms a fifth of that.
    const PAGES_MAX: usize = 32;
    /// Maximum length of the query string of a cached page, in bytes. Longer query strings are
    /// rare.
    const QUERY_BYTES_MAX: usize = 128;

    /// Returns the cached page of `query`, if it is of `generation`.
    pub fn find(&self, query: &str, generation: u64) -> Option<Arc<T>> {
        let pages = self.0.lock();
        if pages.generation == generation { pages.by_query.get(query).cloned() } else { None }
    }

    /// Stores a rendered page. `generation` is the generation of the catalog before the page was
    /// rendered, so that a change during the rendering invalidates the page.
    pub fn keep(&self, query: &str, generation: u64, rendered: &Arc<T>) {
        let mut pages = self.0.lock();
        if pages.generation < generation {
            *pages = RenderedByQuery { generation, by_query: HashMap::new() };
        }
        if pages.generation == generation
            && pages.by_query.len() < Self::PAGES_MAX
            && query.len() <= Self::QUERY_BYTES_MAX
        {
            pages.by_query.insert(query.into(), Arc::clone(rendered));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_is_cached_until_the_catalog_changes() {
        let lists = RenderedPages::default();
        let page = Arc::new("[]");
        lists.keep("limit=1", 7, &page);
        assert!(
            lists.find("limit=1", 7).is_some()
                && lists.find("limit=2", 7).is_none()
                && lists.find("limit=1", 8).is_none()
        );
        lists.keep("limit=1", 8, &page);
        lists.keep("limit=2", 7, &page);
        assert!(lists.find("limit=1", 8).is_some() && lists.find("limit=2", 8).is_none());
        for n in 0..100 {
            lists.keep(&format!("limit={n}"), 8, &page);
        }
        assert_eq!(lists.0.lock().by_query.len(), RenderedPages::<&str>::PAGES_MAX);
    }
}

//! What was rendered from the catalog, kept until the catalog changes.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

/// Pages that were rendered since the catalog last changed, by query string.
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
    /// With pages of 1,000 tickets each, 13 MB, and a fifth more for their compressed forms.
    const PAGES_MAX: usize = 32;
    /// A longer query string is a rare one.
    const QUERY_BYTES_MAX: usize = 128;

    /// The page that was kept under the catalog's present generation.
    pub fn find(&self, query: &str, generation: u64) -> Option<Arc<T>> {
        let pages = self.0.lock();
        if pages.generation == generation { pages.by_query.get(query).cloned() } else { None }
    }

    /// `generation` is the catalog's from before the page was made: what changed in between makes it stale at once.
    pub fn keep(&self, query: &str, generation: u64, rendered: &Arc<T>) {
        let mut pages = self.0.lock();
        if pages.generation < generation {
            *pages = RenderedByQuery { generation, by_query: HashMap::new() };
        }
        if pages.generation == generation && pages.by_query.len() < Self::PAGES_MAX && query.len() <= Self::QUERY_BYTES_MAX {
            pages.by_query.insert(query.into(), Arc::clone(rendered));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_kept_only_while_the_catalog_stays_as_it_was() {
        let lists = RenderedPages::default();
        let page = Arc::new("[]");
        lists.keep("limit=1", 7, &page);
        assert!(lists.find("limit=1", 7).is_some() && lists.find("limit=2", 7).is_none() && lists.find("limit=1", 8).is_none());
        lists.keep("limit=1", 8, &page);
        lists.keep("limit=2", 7, &page);
        assert!(lists.find("limit=1", 8).is_some() && lists.find("limit=2", 8).is_none());
        for n in 0..100 {
            lists.keep(&format!("limit={n}"), 8, &page);
        }
        assert_eq!(lists.0.lock().by_query.len(), RenderedPages::<&str>::PAGES_MAX);
    }
}

//! Files for crawlers: `robots.txt`, and the sitemap of the tickets for sale (sitemaps.org).

use std::{fmt::Write, time::Duration};

use actix_web::{HttpRequest, HttpResponse, web::Data};
use time::OffsetDateTime;
use tokio::{sync::Mutex, time::Instant};

use crate::{
    catalog::Catalog,
    domain::Timestamp,
    http::{
        HttpContext,
        answer::HandlerResult,
        assets,
        caching::NO_CACHE,
        call::Call,
        encoded::{Effort, Encoded},
        error::{ApiError, Code},
        listing,
    },
};

/// Bounds of one sitemap.
#[derive(Debug, Clone, Copy)]
struct SitemapLimits {
    /// Maximum number of addresses. With more tickets the file has the newest ones; crawlers find
    /// the others through the list.
    addresses_max: usize,
    /// Number of tickets that are read from the catalog at a time.
    tickets_at_once: usize,
}

impl SitemapLimits {
    /// The maximum of 50,000 addresses is from sitemaps.org.
    const DEFAULT: Self = Self { addresses_max: 50_000, tickets_at_once: 1000 };
}

/// Minimum age of a sitemap before it is rendered again, as a multiple of the time that its
/// rendering took. Rendering takes at most 5 % of one core.
const MIN_AGE_PER_RENDER_TIME: u32 = 20;

/// Most recent sitemap.
#[derive(Debug, Default)]
pub(super) struct Sitemap(Mutex<Option<RenderedSitemap>>);

#[derive(Debug)]
struct RenderedSitemap {
    body: Encoded,
    tag: String,
    generation: u64,
    at: Instant,
    render_time: Duration,
}

impl RenderedSitemap {
    fn is_fresh(&self, generation: u64) -> bool {
        self.generation == generation
            || self.at.elapsed() < self.render_time * MIN_AGE_PER_RENDER_TIME
    }
}

/// `GET /sitemap.xml`.
pub async fn sitemap(call: Call) -> HandlerResult {
    let pages = &call.state.context.pages;
    let catalog = &call.state.catalog;
    // Requests that arrive while it is being rendered wait for the result.
    let mut last = pages.sitemap.0.lock().await;
    let generation = catalog.generation();
    let rendered = match last.take().filter(|rendered| rendered.is_fresh(generation)) {
        Some(rendered) => last.insert(rendered),
        None => {
            let (catalog, origin, at) = (catalog.clone(), pages.origin.clone(), Instant::now());
            let rendered = tokio::task::spawn_blocking(move || {
                let body = Encoded::new(
                    render(&origin, &catalog, SitemapLimits::DEFAULT).into(),
                    Effort::Low,
                );
                body.prepare();
                RenderedSitemap {
                    tag: assets::tag(body.plain()),
                    body,
                    generation,
                    at,
                    render_time: at.elapsed(),
                }
            });
            last.insert(rendered.await.map_err(|_| ApiError::new(Code::Internal))?)
        }
    };
    Ok(rendered.body.response(&call.req, &rendered.tag, "application/xml; charset=utf-8", NO_CACHE))
}

/// `GET /robots.txt`. Crawlers may read all files that pages load, because some pages have no
/// content without their script. A page that must not be listed has the meta element `robots` with
/// `noindex`.
pub async fn robots(req: HttpRequest, context: Data<HttpContext>) -> HttpResponse {
    let body =
        format!("User-agent: *\nAllow: /\n\nSitemap: {}/sitemap.xml\n", context.pages.origin);
    let tag = assets::tag(body.as_bytes());
    assets::serve_bytes(&req, body.into(), "text/plain; charset=utf-8", &tag)
}

fn render(origin: &str, catalog: &Catalog, bounds: SitemapLimits) -> String {
    // `&` is the only character of an origin that is special in XML.
    let origin = origin.replace('&', "&amp;");
    let mut xml = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<urlset xmlns=\"http://www.sitemaps.org/schemas/sitemap/0.9\">\n",
    );
    writeln!(xml, "<url><loc>{origin}/</loc></url>").expect("writing to a string does not fail");
    let mut query = listing::public_query("").expect("no parameter is a valid query");
    let mut left = bounds.addresses_max - 1;
    loop {
        query.limit = left.min(bounds.tickets_at_once);
        let page = catalog.list(&query);
        for ticket in &page.tickets {
            let changed = date(ticket.updated_at);
            writeln!(
                xml,
                "<url><loc>{origin}/tickets/{}</loc><lastmod>{changed}</lastmod></url>",
                ticket.id
            )
            .expect("writing to a string does not fail");
        }
        left -= page.tickets.len();
        query.after = page.next;
        if query.after.is_none() || left == 0 {
            break;
        }
    }
    xml.push_str("</urlset>\n");
    xml
}

fn date(at: Timestamp) -> time::Date {
    OffsetDateTime::from_unix_timestamp(at.0.div_euclid(1000))
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
        .date()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::http::tests::Site;

    #[actix_web::test]
    async fn sitemap_lists_the_newest_tickets_on_sale_up_to_its_bound() {
        let site = Site::open(&["--rate-limit", "off"]).await;
        let mut ids = Vec::new();
        for n in 0..30 {
            ids.push(site.list(&format!("Concert {n}"), 2000).await.id);
        }
        site.lock(ids[29]).await;
        let held = |addresses_max| {
            let xml = render(
                "https://tickets.example",
                site.catalog(),
                SitemapLimits { addresses_max, tickets_at_once: 7 },
            );
            assert!(
                xml.starts_with("<?xml")
                    && xml.ends_with("</urlset>\n")
                    && xml.contains("<loc>https://tickets.example/</loc>")
            );
            let named = ids
                .iter()
                .map(|id| xml.contains(&format!("<loc>https://tickets.example/tickets/{id}</loc>")))
                .collect::<Vec<_>>();
            (
                xml.matches("<url>").count(),
                named.iter().position(|named| *named),
                named.iter().filter(|named| **named).count(),
            )
        };
        assert_eq!(held(1000), (31, Some(0), 30));
        assert_eq!(held(25), (25, Some(6), 24), "the newest");
        assert_eq!(held(22), (22, Some(9), 21), "whole pages");
    }

    #[tokio::test(start_paused = true)]
    async fn sitemap_is_rendered_again_only_after_a_change_and_its_minimum_age() {
        let render_time = Duration::from_secs(1);
        let rendered = RenderedSitemap {
            body: Encoded::new(Bytes::new(), Effort::Low),
            tag: String::new(),
            generation: 7,
            at: Instant::now(),
            render_time,
        };
        assert!(rendered.is_fresh(7) && rendered.is_fresh(8), "it was rendered just now");
        tokio::time::advance(render_time * MIN_AGE_PER_RENDER_TIME).await;
        assert!(rendered.is_fresh(7) && !rendered.is_fresh(8), "it expires only after a change");
    }
}

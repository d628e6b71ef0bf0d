// Accessibility and telephone width of a built site, in light and dark. Needs Node and two packages:
//
//   npm install --no-save --prefix /tmp/axe axe-core puppeteer-core
//   node .github/axe.mjs _build/html /tmp/axe [page.html ...]
//
// Without pages, all of them. SCMODS_BROWSER names the Chromium or Chrome to use. Ends with 1 when there is a finding that
// is not the theme's own.
import { createRequire } from "node:module";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [site, modules, ...named] = process.argv.slice(2);
if (!site || !modules) {
  console.error("usage: node .github/axe.mjs SITE FOLDER_WITH_NODE_MODULES [page.html ...]");
  process.exit(2);
}
const load = createRequire(path.resolve(modules, "package.json"));
const puppeteer = load("puppeteer-core");
const axe = readFileSync(load.resolve("axe-core/axe.min.js"), "utf8");

// what the theme draws and this project does not: rule -> part of the markup of the element
const THEME = {
  "label-content-name-mismatch": ["search-button", "theme-switch-button"],
  "summary-name": ["toctree-toggle"],
  "landmark-unique": ["bd-search", "prev-next", "bd-sidebar", "bd-footer", "bd-header"],
  "landmark-no-duplicate-banner": ["bd-header"],
  "landmark-no-duplicate-contentinfo": ["footer"],
  "aria-allowed-role": ["search-button", "caption"],
  "region": ["skip-link", "pst-", "navbar-brand"],
};
const PHONE = 390;

const browserPath = () => {
  const places = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
  const found = process.env.SCMODS_BROWSER || places.find((p) => existsSync(p));
  if (found) return found;
  console.error("axe: no browser found. Name one in SCMODS_BROWSER.");
  process.exit(2);
};

const pages = named.length
  ? named
  : readdirSync(site, { recursive: true }).map(String).filter((f) => f.endsWith(".html") && !f.startsWith("_")).sort();

const open = async (browser, name, dark, width) => {
  const page = await browser.newPage();
  await page.setViewport({ width, height: 900 });
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: dark ? "dark" : "light" }]);
  await page.goto(`${pathToFileURL(path.resolve(site, name))}?open=all`);
  await new Promise((done) => setTimeout(done, 1500));
  return page;
};

const violations = async (page) => {
  await page.evaluate(axe);
  // the drawings of plotly are hidden from assistive technology; their frame carries the text
  const found = await page.evaluate(() => axe.run({ exclude: [[".main-svg"]] }, { resultTypes: ["violations"] }));
  const out = [];
  for (const { id, nodes } of found.violations) {
    for (const { html } of nodes) {
      if (!(THEME[id] ?? []).some((part) => html.includes(part))) out.push(`${id}: ${html.slice(0, 160).replace(/\s+/g, " ")}`);
    }
  }
  return out;
};

const overflow = async (page) => {
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  return wide > PHONE ? [`the page is ${wide} pixels wide on a telephone of ${PHONE}`] : [];
};

const browser = await puppeteer.launch({
  executablePath: browserPath(),
  args: ["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND"],
});
let count = 0;
for (const name of pages) {
  for (const [scheme, dark] of [["light", false], ["dark", true]]) {
    const page = await open(browser, name, dark, 1280);
    const found = await violations(page);
    await page.setViewport({ width: PHONE, height: 844 });
    found.push(...(await overflow(page)));
    await page.close();
    for (const line of new Set(found)) console.log(`${name} (${scheme}): ${line}`);
    count += found.length;
  }
}
await browser.close();
console.log(`axe: ${pages.length} pages, light and dark; ${count} findings that are not the theme's own`);
process.exit(count ? 1 : 0);

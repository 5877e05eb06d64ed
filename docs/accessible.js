// What the theme leaves out: wide tables that scroll can be reached by the keyboard, and parts of a page have names of
// their own. The theme calls this whenever it shows a page.
document$.subscribe(() => {
  for (const wrap of document.querySelectorAll(".md-typeset__scrollwrap")) {
    wrap.tabIndex = 0
    wrap.setAttribute("role", "group")
    wrap.setAttribute("aria-label", "table")
  }
  document.querySelectorAll("nav.md-code__nav").forEach((nav, number) => nav.setAttribute("aria-label", `code ${number + 1}`))
  const names = {}
  for (const nav of document.querySelectorAll("nav.md-nav[aria-label]")) {
    const name = nav.getAttribute("aria-label")
    const number = (names[name.toLowerCase()] = (names[name.toLowerCase()] ?? 0) + 1)
    if (number > 1) nav.setAttribute("aria-label", `${name} (${number})`)
  }
})

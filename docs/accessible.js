// What the theme leaves out: wide tables that scroll can be reached by the keyboard, and parts of a page have names of
// their own. The theme calls this whenever it shows a page.
document$.subscribe(() => {
  for (const wrap of document.querySelectorAll(".md-typeset__scrollwrap")) {
    wrap.tabIndex = 0
    wrap.setAttribute("role", "group")
    wrap.setAttribute("aria-label", "table")
  }
  for (const image of document.querySelectorAll(".md-typeset p > img:only-child")) {
    const mark = () => { // figures of several panels, which scroll on a phone
      if (image.naturalWidth < 2 * image.naturalHeight) return
      image.parentElement.classList.add("panels")
      image.parentElement.tabIndex = 0
    }
    if (image.complete) mark()
    else image.addEventListener("load", mark)
  }
  document.querySelectorAll("nav.md-code__nav").forEach((nav, number) => nav.setAttribute("aria-label", `code ${number + 1}`))
  const names = {}
  for (const nav of document.querySelectorAll("nav.md-nav[aria-label]")) {
    const name = nav.getAttribute("aria-label")
    const number = (names[name.toLowerCase()] = (names[name.toLowerCase()] ?? 0) + 1)
    if (number > 1) nav.setAttribute("aria-label", `${name} (${number})`)
  }
})

package monit

import (
	"fmt"
	"html"
	"path/filepath"
	"strings"
	"testing"
)

// palette are the sixteen colors of a terminal, on a background of its own: so the picture
// is legible on light and on dark pages.
var palette = map[color]string{
	0: "#d8dee9", 1: "#4c566a", red: "#ff7b85", green: "#a3d977", yellow: "#f0c674", blue: "#7fb4ff", magenta: "#d4a5ff", cyan: "#7fd7e0",
	8: "#e5e9f0", 9: "#7b88a1", 10: "#ff7b85", 11: "#a3d977", 12: "#f0c674", brightBlue: "#7fb4ff", 14: "#d4a5ff", 15: "#7fd7e0", 16: "#ffffff",
}

const (
	background = "#1b2028"
	cellWidth  = 8.4 // of a letter that is 14 high, in most fixed-width fonts
	cellHeight = 18.0
	margin     = 12.0
)

// svg draws a canvas. Each run of one style is told how wide it is, whatever font there is.
func svg(c *canvas, title string) string {
	var b strings.Builder
	w, h := float64(c.w)*cellWidth+2*margin, float64(c.h)*cellHeight+2*margin
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" width="%.0f" height="%.0f" role="img" aria-label="%s">`+"\n", w, h, w, h, html.EscapeString(title))
	fmt.Fprintf(&b, "<title>%s</title>\n<rect width=\"100%%\" height=\"100%%\" rx=\"8\" fill=\"%s\"/>\n", html.EscapeString(title), background)
	b.WriteString(`<g font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace" font-size="14">` + "\n")
	for y := range c.h {
		row := c.row(y)
		for x := 0; x < len(row); {
			st, end := row[x].style, x
			var text strings.Builder
			for end < len(row) && row[end].style == st {
				text.WriteString(row[end].text)
				end++
			}
			left, top, long := margin+float64(x)*cellWidth, margin+float64(y)*cellHeight, float64(end-x)*cellWidth
			fg := palette[st.fg]
			if st.reverse {
				fmt.Fprintf(&b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`+"\n", left, top, long, cellHeight, fg)
				fg = background
			}
			more := ""
			if st.bold {
				more += ` font-weight="bold"`
			}
			if st.dim && !st.reverse {
				more += ` opacity="0.6"`
			}
			// Word by word: what is between them is lost on the way through some browsers.
			at := 0
			for word := range strings.FieldsSeq(text.String()) {
				before, _, _ := strings.Cut(text.String()[at:], word)
				from := x + width(text.String()[:at+len(before)])
				at += len(before) + len(word)
				fmt.Fprintf(&b, `<text x="%.1f" y="%.1f" textLength="%.1f" lengthAdjust="spacingAndGlyphs" fill="%s"%s>%s</text>`+"\n",
					margin+float64(from)*cellWidth, top+cellHeight-4.5, float64(width(word))*cellWidth, fg, more, html.EscapeString(word))
			}
			x = end
		}
	}
	b.WriteString("</g>\n</svg>\n")
	return b.String()
}

// The picture of the README is a screen as it is drawn.
func TestPicture(t *testing.T) {
	x := busy(t, 110, 30)
	golden(t, filepath.Join("..", "..", "docs", "monit.svg"), svg(x.draw(), "nekoctl monit: apps and workers, the figures of neko-api, its log"))
}

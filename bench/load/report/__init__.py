"""A report as one HTML file: tables with ratios, what the checker found, and plots.

It is a document to send to somebody: nothing in it is fetched from anywhere, a policy in its head
makes sure of that, and it needs no script. Everything in it that was measured, named or said by
anyone is escaped by the template engine. It leaves nothing out that the JSON has, but the bins of
the histograms. It reads as well on a phone and in the dark: plots are drawn here, in SVG of a few
lines and curves whose colours are the page's own. What a plotting library draws has neither its
colours nor its type, and brings fifty megabytes.
"""

"""FReTNA: live translation that edits what it showed, in parallel, instead of saying it again.

A subtitle that may be rewritten can be translated anew at every word of its source. With an
autoregressive decoder each update takes longer the longer the sentence is; here a Levenshtein
Transformer starts from the shown translation and deletes, inserts and fills everywhere at once, so
an update takes a few passes of the decoder whatever the length. Use it where updates must come at
a steady pace and some quality may go. Where quality comes first, use the kind "speculative" of the
same class: plain re-translation, token by token the same, with the former translation as a draft
that one pass verifies. It needs no special model.

    from paperround.papers.fretna import Retranslator

    live = Retranslator(model, tokenizer, "levt", refinements=2)
    for shown in live.stream("a man sleeps on a bench .".split()):
        print(shown.text, shown.edits)

`LevenshteinTransformer` and `train_levt` are the model and its training, `greedy_decode` and
`WaitK` the other arms, `average_lagging`, `normalized_erasure` and `normalized_click_n_edit` what
is measured of a stream.

Han, Indurthi, Zaidi, Lakumarapu, Lee, Kim, Kim, Hwang: Faster Re-translation Using
Non-Autoregressive Model For Simultaneous Neural Machine Translation, arXiv 2012.14681, 2020.
"""

import lazy_loader

# Imported when somebody asks: the web process lists every room, and has no use for torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

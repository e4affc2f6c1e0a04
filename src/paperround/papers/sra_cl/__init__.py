"""SRA-CL: contrastive losses for a sequential recommender, from users and items alike in meaning.

Two losses are added while a SASRec-like model learns: a user's state is drawn to a learnt mixture
of users whose texts are like theirs, and two views of one history, in which some items are replaced
by items with similar texts, are drawn together. The model that is kept is the encoder alone, as
fast as before. Use it where items have texts and users have few events. Expect little where data is
plenty, or where titles say nothing of what goes with what. Tune the plain encoder first: most of
what the paper's table shows over SASRec is its training with the full softmax.

    import numpy as np
    from paperround.kit.recommendation import SASRec, SequenceDataset, Trainer
    from paperround.kit.recommendation import build_log, next_items
    from paperround.papers.sra_cl import SemanticContrastive

    log = build_log([n // 5 for n in range(60)], [(n * n) % 9 for n in range(60)])
    item_text = np.vstack([np.zeros(4), np.random.default_rng(0).normal(size=(log.n_items, 4))])
    model = SemanticContrastive(SASRec(log.n_items, max_len=20), log, item_text, k=3)
    data = SequenceDataset(log, max_len=20)
    Trainer(model, data, None, next_items(), aux_losses=model.aux_losses()).fit()
    model.encoder  # all that recommending needs

Vectors of real texts: `paperround.kit.recommendation.item_vectors`. On a command line:
`paperround recommend fit events.csv --model sra-cl --set texts=items.csv --out shop.model`.

Cui et al.: Semantic Retrieval Augmented Contrastive Learning for Sequential Recommendation.
NeurIPS 2025, arXiv:2503.04162.
"""

import lazy_loader

# Imported when somebody asks: the web process lists every room, and has no use for torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

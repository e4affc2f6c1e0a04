"""Near-duplicate removal across the sources of a corpus, with SlimPajama's exact parameters.

Use it to deduplicate any collection of documents (training data, records, mails), inside each
source or across all, and to see which source lost what to which. It finds copies and light edits
(Jaccard similarity of character 13-grams from about 0.8); not paraphrases or translations.

    from paperround.papers.slimpajama_dc import MinHashDeduplicator

    documents = ["a b c d e f g h " * 20, "a b c d e f g h " * 20, "something else " * 20]
    dedup = MinHashDeduplicator(scope="global").fit(documents, sources=["web", "news", "web"])
    print(dedup.duplicate_of_, dedup.source_matrix(), len(dedup.transform(documents)))

On a command line: `python -m paperround.papers.slimpajama_dc FILE.jsonl --text-key text`.

Shen, Tao, Ma, Neiswanger, Liu, Wang, Tan, Hestness, Vassilieva, Soboleva, Xing: SlimPajama-DC:
Understanding Data Combinations for LLM Training. arXiv:2309.10818, 2023. The pipeline is that of
Soboleva et al., SlimPajama, 2023.
"""

import lazy_loader

# Imported when somebody asks: the web process lists every room, and has no use for torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

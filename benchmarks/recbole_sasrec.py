"""RecBole's SASRec, trained and timed: run by benchmarks/recommend.py in an environment of its own.

    python recbole_sasrec.py '{"data": FOLDER, "name": NAME, ...}'

Imports nothing of Paperround. Prints one JSON object a line: "data", "trial" (what each batch size
learns a second), an "epoch" each (the last one may be cut short by the seconds), "latency", "done".
Only the clock around RecBole's own functions is ours: an epoch is `Trainer._train_epoch`, an
evaluation `Trainer.evaluate` over all users among all items.
"""

import json
import logging
import sys
import time
from collections.abc import Iterator

import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed


def say(**fields: object) -> None:
    """One line for whoever started this."""
    print(json.dumps(fields), flush=True)


class Until:
    """RecBole's batches until a moment; counts the rows, each of which is one predicted item."""

    shuffle = False

    def __init__(self, batches: object, moment: float) -> None:
        self._batches, self._moment = batches, moment
        self.rows, self.cut = 0, False

    def __iter__(self) -> Iterator[object]:
        for batch in self._batches:
            if time.perf_counter() >= self._moment:
                self.cut = True
                return
            self.rows += len(batch)
            yield batch


def main(task: dict) -> None:
    """Trains until the patience, the epochs or the seconds are spent, by RecBole's habits."""
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(task["threads"])
    torch.set_flush_denormal(True)
    config = Config(
        model="SASRec",
        dataset=task["name"],
        config_dict={
            "data_path": task["data"],
            "use_gpu": False,
            "seed": task["seed"],
            "reproducibility": True,
            "show_progress": False,
            "checkpoint_dir": task["data"],
            "USER_ID_FIELD": "user_id",
            "ITEM_ID_FIELD": "item_id",
            "TIME_FIELD": "timestamp",
            "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
            "eval_args": {
                "split": {"LS": "valid_and_test"},
                "order": "TO",
                "mode": "full",
                "group_by": "user",
            },
            "train_neg_sample_args": None,
            "loss_type": "CE",
            "metrics": ["Hit", "NDCG"],
            "topk": [10, 20],
            "valid_metric": "NDCG@10",
            "MAX_ITEM_LIST_LENGTH": task["max_len"],
            "hidden_size": task["d_model"],
            "inner_size": 4 * task["d_model"],
            "hidden_dropout_prob": task["dropout"],
            "attn_dropout_prob": task["dropout"],
            "train_batch_size": task["batch_sizes"][0],
            "metric_decimal_place": 6,
        },
    )
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    train_data, valid_data, test_data = data_preparation(config, dataset)
    n_rows = len(train_data._dataset)
    say(kind="data", rows=n_rows, items=dataset.item_num - 1, users=dataset.user_num - 1)
    # Every batch size is tried on a model of its own; the fastest trains.
    rates = {}
    for size in task["batch_sizes"]:
        model, trainer = fresh(config, train_data)
        batches = Until(loader(config, train_data, size), time.perf_counter() + task["trial"])
        started = time.perf_counter()
        trainer._train_epoch(batches, 0, show_progress=False)
        rates[size] = batches.rows / (time.perf_counter() - started)
    fastest = max(rates, key=rates.get)
    say(kind="trial", rates=rates, fastest=fastest)
    train_data = loader(config, train_data, fastest)
    init_seed(config["seed"], config["reproducibility"])
    model, trainer = fresh(config, train_data)
    trainer.eval_collector.data_collect(train_data)
    best, waited, spent = -1.0, 0, 0.0
    for epoch in range(1, task["epochs"] + 1):
        started = time.perf_counter()
        batches = Until(train_data, started + task["seconds"] - spent)
        trainer._train_epoch(batches, epoch - 1, show_progress=False)
        trained = time.perf_counter()
        spent += trained - started
        valid = trainer.evaluate(valid_data, load_best_model=False)
        validated = time.perf_counter()
        test = trainer.evaluate(test_data, load_best_model=False)
        better = valid["ndcg@10"] > best
        best, waited = max(best, valid["ndcg@10"]), 0 if better else waited + 1
        say(
            kind="epoch",
            epoch=epoch - 1 + batches.rows / n_rows,
            targets=batches.rows,
            seconds=trained - started,
            eval_seconds=validated - trained,
            valid=float(valid["ndcg@10"]),
            test={name: float(value) for name, value in test.items()},
        )
        if batches.cut or waited >= task["patience"]:
            break
    model.eval()
    for users in task["latency_users"]:
        say(kind="latency", users=users, ms=latency(model, test_data, users))
    say(kind="done")


def fresh(config: Config, train_data: object) -> tuple:
    """A model that has learnt nothing, and its trainer."""
    model = get_model("SASRec")(config, train_data._dataset).to(config["device"])
    return model, get_trainer(config["MODEL_TYPE"], "SASRec")(config, model)


def loader(config: Config, train_data: object, batch_size: int) -> object:
    """The same rows in batches of another size."""
    config["train_batch_size"] = batch_size
    return type(train_data)(config, train_data._dataset, train_data._sampler, shuffle=True)


@torch.no_grad()
def latency(model: torch.nn.Module, test_data: object, users: int, repeats: int = 30) -> list:
    """Milliseconds of scoring all items for that many users and taking the best ten, each time."""
    interactions = test_data._dataset.inter_feat[:users]
    took = []
    for _ in range(repeats + 3):
        started = time.perf_counter()
        scores = model.full_sort_predict(interactions)
        scores[:, 0] = -torch.inf
        torch.topk(scores, 10, dim=-1)
        took.append(1000 * (time.perf_counter() - started))
    return took[3:]


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))

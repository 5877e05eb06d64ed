"""A training by Hugging Face's Trainer, and its line from start to end. `python examples/hugging_face_trainer.py`."""

import linescape as ls
import transformers


def main(steps: int = 200, images: int = 2000, folder: str = "trainer") -> ls.Probe:
    """Train a small ViT on the embedded images; its checkpoints and page go to `folder`."""
    data = {name: (x[:images], y[:images]) for name, (x, y) in ls.data.load("fashion-mini").tensors().items()}
    config = transformers.ViTConfig(image_size=28, patch_size=7, num_channels=1)
    config.update(
        {"num_labels": 10, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    )
    transformers.set_seed(0)
    model = transformers.ViTForImageClassification(config)
    pixels, labels = data["test"]
    keeper = ls.Keeper(
        model,
        folder,
        steps=100,
        data={"test": [{"pixel_values": pixels, "labels": labels}]},
        options=ls.ScanOptions(alphas=21),
        overwrite=True,
    )
    arguments = transformers.TrainingArguments(
        f"{folder}/trainer",
        max_steps=steps,
        per_device_train_batch_size=50,
        learning_rate=1e-3,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
    )
    examples = [{"pixel_values": image, "labels": label} for image, label in zip(*data["train"], strict=True)]
    transformers.Trainer(model, arguments, train_dataset=examples, callbacks=[keeper.trainer()]).train()
    assert keeper.probe is not None
    print(keeper.probe.summary().headline)
    return keeper.probe


if __name__ == "__main__":
    main()

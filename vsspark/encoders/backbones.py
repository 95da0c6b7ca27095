"""Every image network of `keras.applications`: its class, its input size, its own preprocessing, any layer of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vsspark.errors import ConfigError

if TYPE_CHECKING:
    import keras


class Backbone(NamedTuple):
    module: str  # of keras.applications; holds preprocess_input
    builder: str  # the function in it
    side: int  # pixels it was trained at


BACKBONES = {
    "convnext_base": Backbone("convnext", "ConvNeXtBase", 224),
    "convnext_large": Backbone("convnext", "ConvNeXtLarge", 224),
    "convnext_small": Backbone("convnext", "ConvNeXtSmall", 224),
    "convnext_tiny": Backbone("convnext", "ConvNeXtTiny", 224),
    "convnext_xlarge": Backbone("convnext", "ConvNeXtXLarge", 224),
    "densenet121": Backbone("densenet", "DenseNet121", 224),
    "densenet169": Backbone("densenet", "DenseNet169", 224),
    "densenet201": Backbone("densenet", "DenseNet201", 224),
    "efficientnet_b0": Backbone("efficientnet", "EfficientNetB0", 224),
    "efficientnet_b1": Backbone("efficientnet", "EfficientNetB1", 240),
    "efficientnet_b2": Backbone("efficientnet", "EfficientNetB2", 260),
    "efficientnet_b3": Backbone("efficientnet", "EfficientNetB3", 300),
    "efficientnet_b4": Backbone("efficientnet", "EfficientNetB4", 380),
    "efficientnet_b5": Backbone("efficientnet", "EfficientNetB5", 456),
    "efficientnet_b6": Backbone("efficientnet", "EfficientNetB6", 528),
    "efficientnet_b7": Backbone("efficientnet", "EfficientNetB7", 600),
    "efficientnet_v2_b0": Backbone("efficientnet_v2", "EfficientNetV2B0", 224),
    "efficientnet_v2_b1": Backbone("efficientnet_v2", "EfficientNetV2B1", 240),
    "efficientnet_v2_b2": Backbone("efficientnet_v2", "EfficientNetV2B2", 260),
    "efficientnet_v2_b3": Backbone("efficientnet_v2", "EfficientNetV2B3", 300),
    "efficientnet_v2_l": Backbone("efficientnet_v2", "EfficientNetV2L", 480),
    "efficientnet_v2_m": Backbone("efficientnet_v2", "EfficientNetV2M", 480),
    "efficientnet_v2_s": Backbone("efficientnet_v2", "EfficientNetV2S", 384),
    "inception_resnet_v2": Backbone("inception_resnet_v2", "InceptionResNetV2", 299),
    "inception_v3": Backbone("inception_v3", "InceptionV3", 299),
    "mobilenet": Backbone("mobilenet", "MobileNet", 224),
    "mobilenet_v2": Backbone("mobilenet_v2", "MobileNetV2", 224),
    "mobilenet_v3_large": Backbone("mobilenet_v3", "MobileNetV3Large", 224),
    "mobilenet_v3_small": Backbone("mobilenet_v3", "MobileNetV3Small", 224),
    "nasnet_large": Backbone("nasnet", "NASNetLarge", 331),
    "nasnet_mobile": Backbone("nasnet", "NASNetMobile", 224),
    "resnet101": Backbone("resnet", "ResNet101", 224),
    "resnet101_v2": Backbone("resnet_v2", "ResNet101V2", 224),
    "resnet152": Backbone("resnet", "ResNet152", 224),
    "resnet152_v2": Backbone("resnet_v2", "ResNet152V2", 224),
    "resnet50": Backbone("resnet", "ResNet50", 224),
    "resnet50_v2": Backbone("resnet_v2", "ResNet50V2", 224),
    "vgg16": Backbone("vgg16", "VGG16", 224),
    "vgg19": Backbone("vgg19", "VGG19", 224),
    "xception": Backbone("xception", "Xception", 299),
}


def build_backbone(name: str, layer: str | None, weights: str | None) -> tuple[keras.Model, keras.Model]:
    """(network, backbone): RGB 0..255 float32 (n, side, side, 3) to the layer's output (n, d), and the
    `keras.applications` model inside.

    The two share their weights; a weights file is loaded into the backbone, the layers behind the embedding among them.

    layer: None = the last convolution's output, averaged; a 4-d output is averaged over the picture.
    weights: "imagenet" or None. Layers of the classifier (fc1, fc2, predictions) bring the top along.
    Raises ConfigError for a layer that does not exist, listing those that do.
    """
    import keras

    side = BACKBONES[name].side
    backbone = _create(name, layer, weights)
    try:
        output = backbone.get_layer(layer).output if layer else backbone.output
    except ValueError:
        have = ", ".join(part.name for part in backbone.layers)
        raise ConfigError(f"encoder.layer: {name} has no layer {layer!r}; it has {have}") from None
    if len(output.shape) == 4:
        output = keras.layers.GlobalAveragePooling2D(name="pooled")(output)
    if len(output.shape) != 2:
        raise ConfigError(
            f"encoder.layer: {name}'s layer {layer!r} gives {tuple(output.shape)}, expected (n, d) or (n, h, w, d)"
        )
    features = keras.Model(backbone.input, output)
    pixels = keras.Input((side, side, 3), name="rgb")
    module = getattr(keras.applications, BACKBONES[name].module)
    network = keras.Model(pixels, features(module.preprocess_input(pixels)), name=name)
    return network, backbone


def _create(name: str, layer: str | None, weights: str | None) -> keras.Model:
    import keras

    backbone = BACKBONES[name]
    builder = getattr(keras.applications, backbone.builder)
    shape = (backbone.side, backbone.side, 3)
    model = builder(include_top=False, weights=weights, input_shape=shape, pooling="avg")
    if layer is None or layer in {part.name for part in model.layers}:
        return model
    return builder(include_top=True, weights=weights, input_shape=shape)

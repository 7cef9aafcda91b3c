"""What each operator becomes: ``function(importer, *inputs, **attributes)`` -> a flow, an array, or a tuple of them."""

from . import activations, arithmetic, axes, linear, logic, normalisation, pooling, reductions, resampling

OPERATORS = {
    name: function
    for family in (activations, arithmetic, axes, linear, logic, normalisation, pooling, reductions, resampling)
    for name, function in family.OPERATORS.items()
}

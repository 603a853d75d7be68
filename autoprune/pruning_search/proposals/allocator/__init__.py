"""Spending a budget on the widths of all groups, given what each width of each group loses."""

from autoprune.criteria.curve import Curve, monotone_curve
from autoprune.pruning_search.proposals.allocator.exact import exact_plans
from autoprune.pruning_search.proposals.allocator.greedy import Greedy
from autoprune.pruning_search.proposals.allocator.task import Allocation, AllocationTask, Spend

__all__ = ["Allocation", "AllocationTask", "Curve", "Greedy", "Spend", "exact_plans", "monotone_curve"]

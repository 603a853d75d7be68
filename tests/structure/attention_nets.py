import torch
from torch import Tensor, nn
from torch.nn import functional


class FusedQkv(nn.Module):
    """One projection for queries, keys and values, cut into heads by a reshape."""

    def __init__(self, dim: int = 16, heads: int = 4) -> None:
        super().__init__()
        self.num_heads, self.head_dim = heads, dim // heads
        self.attn_dim = dim
        self.scale = self.head_dim**-0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.q_norm, self.k_norm = nn.LayerNorm(self.head_dim), nn.LayerNorm(self.head_dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        n, length, _ = x.shape
        qkv = self.qkv(x).reshape(n, length, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        attention = (self.q_norm(q) * self.scale) @ self.k_norm(k).transpose(-2, -1)
        x = attention.softmax(dim=-1) @ v
        return self.proj(x.transpose(1, 2).reshape(n, length, self.attn_dim))


class Separate(nn.Module):
    """Three projections, the sizes that BERT keeps, and a per-head bias added to the scores."""

    def __init__(self, dim: int = 16, heads: int = 4, length: int = 5) -> None:
        super().__init__()
        self.num_attention_heads, self.attention_head_size = heads, dim // heads
        self.all_head_size = dim
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))
        self.bias = nn.Parameter(torch.randn(heads, length, length))
        self.out = nn.Linear(dim, dim)

    def heads(self, x: Tensor) -> Tensor:
        x = x.view(*x.shape[:-1], self.num_attention_heads, self.attention_head_size)
        return x.permute(0, 2, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.heads(self.query(x)), self.heads(self.key(x)), self.heads(self.value(x))
        x = functional.scaled_dot_product_attention(q, k, v, attn_mask=self.bias.unsqueeze(0), scale=0.5)
        x = x.permute(0, 2, 1, 3).contiguous()
        return self.out(x.view(*x.shape[:-2], self.all_head_size))


class EmbedDimTwice(nn.Module):
    """One attribute says how wide the input is and how wide all heads are together."""

    def __init__(self, dim: int = 16, heads: int = 4) -> None:
        super().__init__()
        self.embed_dim, self.heads = dim, heads
        self.scale = (dim // heads) ** -0.5
        self.q, self.k, self.v, self.out = (nn.Linear(dim, dim, bias=False) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        n, length, _ = x.shape
        q, k, v = (
            layer(x).view(n, length, self.heads, -1).transpose(1, 2) for layer in (self.q, self.k, self.v)
        )
        x = torch.einsum(
            "bhqk,bhkd->bhqd", (torch.einsum("bhqd,bhkd->bhqk", q, k) * self.scale).softmax(-1), v
        )
        return self.out(x.transpose(1, 2).reshape(n, length, self.embed_dim))


class RelativeBias(nn.Module):
    """Scores by matmul with a table of relative positions, split with ``chunk``."""

    def __init__(self, dim: int = 16, heads: int = 4, length: int = 5) -> None:
        super().__init__()
        self.n_heads = heads
        self.to_qkv = nn.Linear(dim, 3 * dim)
        self.table = nn.Parameter(torch.randn(2 * length - 1, heads))
        place = torch.arange(length)
        self.register_buffer("index", (place[:, None] - place[None, :] + length - 1).flatten())
        self.length = length
        self.scale = (dim // heads) ** -0.5
        self.merge = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for part in self.to_qkv(x).chunk(3, -1)
        )
        bias = self.table[self.index].view(self.length, self.length, -1).permute(2, 0, 1)
        weights = torch.softmax(torch.matmul(q * self.scale, k.mT) + bias, -1)
        return self.merge(torch.matmul(weights, v).transpose(1, 2).flatten(2))


class Grouped(nn.Module):
    """Grouped-query attention with rotary embeddings and a causal mask."""

    def __init__(self, dim: int = 32, heads: int = 8, kv_heads: int = 4, repeat: bool = False) -> None:
        super().__init__()
        self.num_heads, self.num_kv_heads, self.head_dim = heads, kv_heads, dim // heads
        self.repeat = repeat
        self.q_proj = nn.Linear(dim, heads * self.head_dim, bias=False)
        self.k_proj = nn.Linear(dim, kv_heads * self.head_dim, bias=False)
        self.v_proj = nn.Linear(dim, kv_heads * self.head_dim, bias=False)
        self.o_proj = nn.Linear(heads * self.head_dim, dim, bias=False)
        angles = torch.outer(torch.arange(5.0), 0.5 ** torch.arange(self.head_dim // 2))
        self.register_buffer("cos", torch.cat([angles, angles], -1).cos())
        self.register_buffer("sin", torch.cat([angles, angles], -1).sin())

    def rotate(self, x: Tensor) -> Tensor:
        half = x.shape[-1] // 2
        return x * self.cos + torch.cat([-x[..., half:], x[..., :half]], -1) * self.sin

    def forward(self, x: Tensor) -> Tensor:
        n, length, _ = x.shape
        q = self.rotate(self.q_proj(x).view(n, length, self.num_heads, self.head_dim).transpose(1, 2))
        k = self.rotate(self.k_proj(x).view(n, length, self.num_kv_heads, self.head_dim).transpose(1, 2))
        v = self.v_proj(x).view(n, length, self.num_kv_heads, self.head_dim).transpose(1, 2)
        if self.repeat:
            times = self.num_heads // self.num_kv_heads
            k, v = (
                part[:, :, None].expand(-1, -1, times, -1, -1).reshape(n, self.num_heads, length, -1)
                for part in (k, v)
            )
        x = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=not self.repeat)
        return self.o_proj(x.transpose(1, 2).reshape(n, length, -1))


class SwiGlu(nn.Module):
    def __init__(self, dim: int = 16, hidden: int = 24) -> None:
        super().__init__()
        self.gate, self.up = nn.Linear(dim, hidden), nn.Linear(dim, hidden)
        self.down = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(functional.silu(self.gate(x)) * self.up(x))


class GeGlu(nn.Module):
    def __init__(self, dim: int = 16, hidden: int = 24, by_slices: bool = False) -> None:
        super().__init__()
        self.both, self.down = nn.Linear(dim, 2 * hidden), nn.Linear(hidden, dim)
        self.by_slices = by_slices

    def forward(self, x: Tensor) -> Tensor:
        x = self.both(x)
        half = x.shape[-1] // 2
        value, gate = (x[..., :half], x[..., half:]) if self.by_slices else x.chunk(2, -1)
        return self.down(value * functional.gelu(gate))


class Wrapped(nn.Module):
    """A residual stream around one layer, with something to read it."""

    def __init__(self, inner: nn.Module, dim: int = 16, norm: bool = True) -> None:
        super().__init__()
        self.stem = nn.Linear(6, dim)
        self.norm = nn.LayerNorm(dim) if norm else nn.Identity()
        self.inner = inner
        self.head = nn.Linear(dim, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        inner = self.norm(x)
        attention = isinstance(self.inner, nn.MultiheadAttention)
        x = x + (self.inner(inner, inner, inner)[0] if attention else self.inner(inner))
        return self.head(x)


class Cross(nn.Module):
    """Attention of one sequence to another, as nn.MultiheadAttention spells it."""

    def __init__(self, **settings: object) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(6, 16), nn.Linear(6, 12 if "kdim" in settings else 16)
        self.third = nn.Linear(6, 10) if "vdim" in settings else None
        self.attention = nn.MultiheadAttention(16, 4, **settings)  # type: ignore[arg-type]
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        key = self.right(y)
        value = key if self.third is None else self.third(y)
        return self.head(self.attention(self.left(x), key, value, need_weights=False)[0])

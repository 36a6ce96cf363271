defmodule AxonPort.Random do
  @moduledoc "Terms and bytes by chance: each seed always makes the same."

  @doc "Any JSON."
  def json(seed), do: with_seed(seed, fn -> value(4) end)

  @doc "The text with something wrong with it."
  def damaged(text, seed) do
    with_seed(seed, fn ->
      at = :rand.uniform(byte_size(text)) - 1
      <<before::binary-size(at), byte, rest::binary>> = text

      case :rand.uniform(4) do
        1 -> before
        2 -> before <> rest
        3 -> before <> <<:rand.uniform(256) - 1>> <> rest
        4 -> before <> <<byte, byte>> <> rest
      end
    end)
  end

  @doc "The bytes in pieces."
  def cut(bytes, seed), do: with_seed(seed, fn -> pieces(bytes) end)

  @doc "What the function returns, with the process's random numbers from this seed."
  def with_seed(seed, fun) do
    :rand.seed(:exsss, seed)
    fun.()
  end

  @doc "One of these."
  def one_of(choices), do: Enum.at(choices, :rand.uniform(length(choices)) - 1)

  defp pieces(""), do: []

  defp pieces(bytes) do
    size = :rand.uniform(byte_size(bytes))
    <<piece::binary-size(size), rest::binary>> = bytes
    [piece | pieces(rest)]
  end

  defp value(0), do: scalar()

  defp value(depth) do
    case :rand.uniform(4) do
      1 -> for _ <- 1..:rand.uniform(4), do: value(depth - 1)
      2 -> for _ <- 1..:rand.uniform(4), into: %{}, do: {text(), value(depth - 1)}
      3 -> one_of([[], %{}, "", nil])
      4 -> scalar()
    end
  end

  defp scalar, do: one_of([nil, true, false, integer(), float(), text()])

  defp integer,
    do: one_of([-1, 1]) * one_of([0, 1, 2 ** 31, 2 ** 53 + 1, 2 ** 63, 2 ** 64, 10 ** 40]) + :rand.uniform(9)

  defp float, do: (:rand.uniform() - 0.5) * :math.pow(10, :rand.uniform(40) - 20)

  defp text do
    for _ <- 1..:rand.uniform(12), into: "", do: <<character()::utf8>>
  end

  defp character do
    one_of([:rand.uniform(31), ?", ?\\, ?/, ?a, ?0, 0x7F, 0xE9, 0x2028, 0xFFFD, 0x1F600, 0x10FFFF])
  end
end

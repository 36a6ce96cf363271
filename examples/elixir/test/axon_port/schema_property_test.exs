defmodule AxonPort.SchemaPropertyTest do
  @moduledoc "Types and values by random generation: what is sent comes back as it was, and a wrong value never does."

  use ExUnit.Case, async: true

  alias AxonPort.{Codec, Plain, Schema}

  @rounds 500

  defmodule Leaf do
    @moduledoc false
    use AxonPort.Schema

    schema do
      field :name, :string
      field :rank, :integer, default: 1
      field :since, Date, optional: true
      field :below, [__MODULE__], default: []
    end
  end

  # A type, and a function that makes a value of it.
  defp type(0), do: pick(leaves())
  defp type(depth), do: pick(leaves() ++ branches(depth - 1))

  defp leaves do
    [
      {:string, &text/0},
      {:integer, &integer/0},
      {:float, fn -> :rand.normal() * 1.0e6 end},
      {:boolean, fn -> pick([true, false]) end},
      {nil, fn -> nil end},
      {Date, fn -> Date.add(~D[2026-11-20], :rand.uniform(100_000) - 50_000) end},
      {Time, fn -> Time.add(~T[00:00:00], :rand.uniform(86_399)) end},
      {DateTime, fn -> DateTime.from_unix!(:rand.uniform(4_000_000_000)) end},
      {NaiveDateTime, fn -> NaiveDateTime.add(~N[2026-01-01 00:00:00], :rand.uniform(1_000_000)) end},
      {{:enum, [:a, :b, "c", 4, nil]}, fn -> pick([:a, :b, "c", 4, nil]) end},
      {Leaf, &leaf/0},
      {{{:integer, minimum: 0}, description: "a count"}, fn -> :rand.uniform(100) end}
    ]
  end

  defp branches(depth) do
    {type, value} = type(depth)
    {other, other_value} = type(depth)

    [
      {[type], fn -> some(value) end},
      {{:map, type}, fn -> Map.new(some(fn -> {text(), value.()} end)) end},
      {{:nullable, type}, fn -> pick([nil, value.()]) end},
      {{:tuple, [type, other]}, fn -> {value.(), other_value.()} end},
      {%{:one => type, {:optional, :two} => other},
       fn -> Map.merge(%{one: value.()}, pick([%{}, %{two: other_value.()}])) end}
    ]
  end

  defp leaf,
    do: %Leaf{
      name: text(),
      rank: integer(),
      since: pick([nil, ~D[2026-11-20]]),
      below: pick([[], [%Leaf{name: text()}]])
    }

  defp pick(list), do: Enum.random(list)
  defp some(value), do: for(_n <- 1..:rand.uniform(4), do: value.())
  defp integer, do: pick([0, -1, :rand.uniform(1000), 2 ** 53 + 1, -(2 ** 64), 10 ** 30])

  defp text,
    do:
      for(
        _n <- 1..:rand.uniform(8),
        into: "",
        do: <<pick([?a, ?", ?\\, ?\n, 0, 0x7F, 0xE4, 0x20AC, 0x1F600])::utf8>>
      )

  # A failure names the seed of its round, and can be had again.
  defp each_round(check) do
    for round <- 1..@rounds do
      :rand.seed(:exsss, {round, 2, 3})
      {type, value} = type(3)
      check.(type, value, "round #{round}, #{inspect(type)}")
    end
  end

  test "a value comes back from JSON as it was" do
    each_round(fn type, value, round ->
      value = value.()
      {:ok, json} = Codec.encode(value)
      {:ok, data} = Codec.decode(json)
      assert Schema.cast(type, data) == {:ok, value}, round
    end)
  end

  test "a type has a schema that JSON can hold, the same each time" do
    each_round(fn type, _value, round ->
      schema = Schema.to_json(type)
      assert Plain.from!(schema) == schema, round
      assert Schema.to_json(type) == schema, round
    end)
  end

  test "whatever data is cast to, the answer is a value or a fault with a place" do
    each_round(fn type, _value, round ->
      {_other, value} = type(3)

      case Schema.cast(type, Plain.from!(value.())) do
        {:ok, _value} -> :ok
        {:error, {path, expected}} -> assert is_list(path) and is_binary(expected), round
      end
    end)
  end
end

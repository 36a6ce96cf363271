defmodule AxonPort.Plain do
  @moduledoc """
  Plain data: what JSON can hold, with texts as keys.

  Everything that a parent sends passes through here once, before the codec: tools return structs, dates and atoms, and
  each is given the form that `AxonPort.Schema` would cast back. What has none (a pid, a function, bytes that are no
  text) is told with its place, in the process that brought it up, and never reaches the pipe.

  | term | form |
  | --- | --- |
  | texts, numbers, booleans, `nil` | themselves; `:null` is `nil` |
  | other atoms | their name |
  | lists and tuples | arrays; a keyword list is a list of pairs, and only `object/1` thinks otherwise |
  | maps | objects; keys are texts, atoms or integers |
  | `Date`, `Time`, `DateTime`, `NaiveDateTime` | ISO 8601 |
  | `MapSet`, `Range` | arrays |
  | structs with a schema | objects; an optional field that is `nil` is left out |
  | other structs that implement `String.Chars` (a `URI`, a `Version`, a `Decimal`) | texts |
  | other structs | objects of their fields |
  """

  alias AxonPort.Schema
  alias AxonPort.Schema.Field

  @type t :: nil | boolean | number | String.t() | [t] | %{String.t() => t}

  @doc "The plain form of a term, or the place and the term that has none."
  @spec from(term) :: {:ok, t} | {:error, {path :: [term], term}}
  def from(term) do
    {:ok, plain(term, [])}
  catch
    {:no_plain_form, path, term} -> {:error, {Enum.reverse(path), term}}
  end

  @doc "As `from/1`, but raises `ArgumentError`."
  @spec from!(term) :: t
  def from!(term) do
    case from(term) do
      {:ok, plain} -> plain
      {:error, fault} -> raise ArgumentError, message(fault)
    end
  end

  @doc """
  A keyword list as a map, for what has to be an object; any other term as it is.

  Elsewhere a keyword list is none, since a list of pairs may well mean what it says, and say a thing twice.
  """
  @spec object(term) :: term
  def object([_pair | _more] = list), do: if(Keyword.keyword?(list), do: Map.new(list), else: list)
  def object(term), do: term

  @doc "What is wrong, for people."
  @spec message({[term], term}) :: String.t()
  def message({[], term}), do: "#{inspect(term)} has no form in JSON"

  def message({path, term}) do
    "#{inspect(term)} at #{Enum.map_join(path, ".", &step/1)} has no form in JSON"
  end

  defp plain(:null, _path), do: nil
  defp plain(term, _path) when is_nil(term) or is_boolean(term) or is_number(term), do: term
  defp plain(atom, _path) when is_atom(atom), do: Atom.to_string(atom)
  defp plain(text, path) when is_binary(text), do: if(String.valid?(text), do: text, else: none(text, path))
  defp plain(list, path) when is_list(list), do: elements(list, path)
  defp plain(tuple, path) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> elements(path)
  defp plain(%module{} = struct, path), do: structure(module, struct, path)
  defp plain(%{} = map, path), do: Map.new(map, &entry(&1, path))
  defp plain(term, path), do: none(term, path)

  defp elements(list, path), do: elements(list, 0, path)
  defp elements([], _index, _path), do: []

  defp elements([head | tail], index, path) do
    [plain(head, [index | path]) | elements(tail, index + 1, path)]
  end

  defp elements(improper, _index, path), do: none(improper, path)

  defp entry({key, value}, path) do
    key = key(key, path)
    {key, plain(value, [key | path])}
  end

  defp key(key, path) when is_binary(key), do: plain(key, path)
  defp key(key, _path) when is_atom(key) or is_integer(key), do: to_string(key)
  defp key(key, path), do: none(key, path)

  defp structure(module, struct, _path) when module in [Date, Time, DateTime, NaiveDateTime] do
    module.to_iso8601(struct)
  end

  defp structure(module, struct, path) when module in [MapSet, Range] do
    struct |> Enum.to_list() |> elements(path)
  end

  defp structure(module, struct, path) do
    cond do
      Schema.schema?(module) ->
        module |> Schema.fields() |> Enum.flat_map(&field(&1, struct, path)) |> Map.new()

      String.Chars.impl_for(struct) ->
        plain(to_string(struct), path)

      true ->
        plain(Map.from_struct(struct), path)
    end
  end

  defp field(%Field{name: name, presence: presence} = field, struct, path) do
    case Map.fetch!(struct, name) do
      nil when presence == :optional -> []
      value -> [{field.key, plain(value, [field.key | path])}]
    end
  end

  defp step(step) when is_binary(step), do: step
  defp step(step), do: inspect(step)

  @spec none(term, [term]) :: no_return
  defp none(term, path), do: throw({:no_plain_form, path, term})
end

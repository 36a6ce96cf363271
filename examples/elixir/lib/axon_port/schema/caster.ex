defmodule AxonPort.Schema.Caster do
  @moduledoc """
  Makes Elixir values of JSON data: structs, atoms, dates and tuples, as a type says.

  No atom is made that the type does not name. What a type is annotated with (a minimum, a pattern) is not looked at:
  the worker has checked it.
  """

  alias AxonPort.Schema.{Field, Type}

  # JSON's integers have no end, and are numbers.
  @largest_double trunc(1.7976931348623157e308)

  @typedoc "Where a value does not fit, from the outside in, and what had been expected there."
  @type fault :: {path :: [String.t() | non_neg_integer], expected :: String.t()}

  @doc "The value that JSON data stands for, or the first place where it does not fit the type."
  @spec cast(Type.t(), term) :: {:ok, term} | {:error, fault}
  def cast({:plain, type}, value), do: plain(type, value)
  def cast({:raw, _schema}, value), do: {:ok, value}
  def cast({:annotated, type, _annotations}, value), do: cast(type, value)
  def cast({:calendar, module}, value), do: calendar(module, value)

  def cast({:list, type}, values) when is_list(values) do
    values |> Enum.with_index() |> each(&cast(type, &1))
  end

  def cast({:object, fields}, %{} = map), do: object(fields, map, &keep_absent/1)

  def cast({:struct, module}, %{} = map) do
    with {:ok, values} <- object(AxonPort.Schema.fields(module), map, &fill_absent/1) do
      {:ok, struct!(module, values)}
    end
  end

  def cast({:map, type}, %{} = map) do
    keys = Map.keys(map)

    with {:ok, values} <- each(Enum.zip(Map.values(map), keys), &cast(type, &1)) do
      {:ok, keys |> Enum.zip(values) |> Map.new()}
    end
  end

  def cast({:tuple, types}, values) when length(types) == length(values) do
    pairs = types |> Enum.zip(values) |> Enum.with_index()

    with {:ok, elements} <- each(pairs, fn {type, value} -> cast(type, value) end) do
      {:ok, List.to_tuple(elements)}
    end
  end

  def cast({:enum, values}, given) do
    case List.keyfind(values, given, 0) do
      {_wire, value} -> {:ok, value}
      nil -> expected("one of #{Enum.map_join(values, ", ", fn {wire, _value} -> inspect(wire) end)}")
    end
  end

  # The first type that fits counts, as in a function's clauses.
  def cast({:union, types}, value) do
    Enum.find_value(types, expected("another type: none of #{length(types)} fits"), fn type ->
      with {:error, _fault} <- cast(type, value), do: nil
    end)
  end

  def cast({:tuple, types}, _value), do: expected("a list of #{length(types)}")
  def cast({:list, _type}, _value), do: expected("a list")
  def cast({_object_map_or_struct, _type}, _value), do: expected("an object")

  defp plain(:any, value), do: {:ok, value}
  defp plain(:string, value) when is_binary(value), do: {:ok, value}
  defp plain(:integer, value) when is_integer(value), do: {:ok, value}
  # JSON Schema counts 1.0 among the integers.
  defp plain(:integer, value) when is_float(value) and trunc(value) == value, do: {:ok, trunc(value)}
  defp plain(:number, value) when is_number(value), do: {:ok, value}
  defp plain(:float, value) when is_float(value), do: {:ok, value}
  defp plain(:float, value) when is_integer(value) and abs(value) <= @largest_double, do: {:ok, value / 1}
  defp plain(:boolean, value) when is_boolean(value), do: {:ok, value}
  defp plain(:null, nil), do: {:ok, nil}
  defp plain(:map, value) when is_map(value), do: {:ok, value}
  defp plain(:list, value) when is_list(value), do: {:ok, value}
  defp plain(type, _value), do: expected("of type #{type}")

  defp calendar(DateTime, text) when is_binary(text) do
    case DateTime.from_iso8601(text) do
      {:ok, time, _offset} -> {:ok, time}
      {:error, _reason} -> calendar(DateTime, nil)
    end
  end

  defp calendar(module, text) when is_binary(text) do
    with {:error, _reason} <- module.from_iso8601(text), do: calendar(module, nil)
  end

  defp calendar(module, _value), do: expected("a #{inspect(module)} in ISO 8601")

  defp object(fields, map, absent) do
    with :ok <- closed(fields, map) do
      Enum.reduce_while(fields, {:ok, %{}}, fn field, {:ok, values} ->
        case field(field, map, absent) do
          {:ok, value} -> {:cont, {:ok, Map.put(values, field.name, value)}}
          :absent -> {:cont, {:ok, values}}
          {:error, fault} -> {:halt, {:error, fault}}
        end
      end)
    end
  end

  defp closed(fields, map) do
    case Map.keys(map) -- Enum.map(fields, & &1.key) do
      [] -> :ok
      [key | _more] -> {:error, {[key], "no such field"}}
    end
  end

  defp field(%Field{key: key, type: type} = field, map, absent) do
    case map do
      %{^key => value} -> with {:error, fault} <- cast(type, value), do: inside(key, fault)
      _missing -> with :required <- absent.(field), do: {:error, {[key], "a value: it is missing"}}
    end
  end

  defp keep_absent(%Field{presence: {:default, value}}), do: {:ok, value}
  defp keep_absent(%Field{presence: :optional}), do: :absent
  defp keep_absent(%Field{presence: :required}), do: :required

  defp fill_absent(%Field{presence: :optional}), do: {:ok, nil}
  defp fill_absent(%Field{} = field), do: keep_absent(field)

  # One after the other, each with its place; the first fault counts.
  defp each(placed, cast, done \\ [])
  defp each([], _cast, done), do: {:ok, Enum.reverse(done)}

  defp each([{value, place} | placed], cast, done) do
    case cast.(value) do
      {:ok, made} -> each(placed, cast, [made | done])
      {:error, fault} -> inside(place, fault)
    end
  end

  defp inside(step, {path, expected}), do: {:error, {[step | path], expected}}

  defp expected(what), do: {:error, {[], what}}
end

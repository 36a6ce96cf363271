defmodule AxonPort.Schema.Typespec do
  @moduledoc "Typespecs and types: reads the one into the other, at compile time, and writes a struct's `t:t/0`."

  alias AxonPort.Schema.{Field, Type}

  @builtin %{
    any: :any,
    term: :any,
    boolean: :boolean,
    integer: :integer,
    float: :float,
    number: :number,
    binary: :string,
    map: :map,
    list: :list
  }
  @remote %{
    String => :string,
    Date => Date,
    Time => Time,
    DateTime => DateTime,
    NaiveDateTime => NaiveDateTime
  }

  @doc """
  The notation (quoted) of a quoted typespec.

  Raises `ArgumentError` if JSON has no form for it, or none that is known here.
  """
  @spec read!(Macro.t(), Macro.Env.t()) :: Macro.t()
  def read!(spec, env)
  def read!(nil, _env), do: nil
  def read!(literal, _env) when is_atom(literal) or is_integer(literal), do: {:enum, [literal]}
  def read!([element], env), do: [read!(element, env)]
  def read!({:list, _meta, [element]}, env), do: [read!(element, env)]
  def read!({:nonempty_list, _meta, [element]}, env), do: {[read!(element, env)], [min_items: 1]}
  def read!({:pos_integer, _meta, []}, _env), do: {:integer, [minimum: 1]}
  def read!({:non_neg_integer, _meta, []}, _env), do: {:integer, [minimum: 0]}
  def read!({:.., _meta, [first, last]}, _env), do: {:integer, [minimum: first, maximum: last]}
  def read!({:|, _meta, _sides} = union, env), do: union |> sides() |> union!(env)
  def read!({:%{}, meta, entries}, env), do: {:%{}, meta, Enum.map(entries, &entry!(&1, env))}
  def read!({name, _meta, []}, _env) when is_map_key(@builtin, name), do: @builtin[name]
  def read!({left, right}, env), do: {:tuple, [read!(left, env), read!(right, env)]}
  def read!({:{}, _meta, elements}, env), do: {:tuple, Enum.map(elements, &read!(&1, env))}

  def read!({{:., _dot, [module, :t]}, _meta, []}, env) do
    module = Macro.expand(module, env)
    Map.get(@remote, module, module)
  end

  def read!(other, _env) do
    raise ArgumentError, "#{Macro.to_string(other)} is no typespec that has a form in JSON"
  end

  @doc "Defines `t:t/0` in the module under compilation, for a struct of these fields."
  defmacro define_t(fields) do
    quote bind_quoted: [fields: fields] do
      @type t :: unquote(AxonPort.Schema.Typespec.struct_type(__MODULE__, fields))
    end
  end

  @doc "The typespec of a struct, quoted."
  @spec struct_type(module, [Field.t()]) :: Macro.t()
  def struct_type(module, fields), do: {:%, [], [module, {:%{}, [], Enum.map(fields, &{&1.name, field(&1)})}]}

  defp field(%Field{type: type, presence: :optional}), do: either([write(type), nil])
  defp field(%Field{type: type}), do: write(type)

  @doc "The typespec of a type, quoted."
  @spec write(Type.t()) :: Macro.t()
  def write({:plain, :string}), do: quote(do: String.t())
  def write({:plain, :null}), do: nil
  def write({:plain, :any}), do: quote(do: term)
  def write({:plain, type}), do: {type, [], []}
  def write({:calendar, module}), do: quote(do: unquote(module).t())
  def write({:struct, module}), do: quote(do: unquote(module).t())
  def write({:list, type}), do: [write(type)]
  def write({:map, type}), do: quote(do: %{String.t() => unquote(write(type))})
  def write({:tuple, types}), do: {:{}, [], Enum.map(types, &write/1)}
  def write({:union, types}), do: types |> Enum.map(&write/1) |> either()

  def write({:enum, values}) do
    values |> Enum.map(fn {_wire, value} -> literal(value) end) |> Enum.uniq() |> either()
  end

  def write({:raw, _schema}), do: quote(do: term)
  def write({:annotated, type, _annotations}), do: write(type)
  def write({:object, fields}), do: {:%{}, [], Enum.map(fields, &pair/1)}

  defp pair(%Field{name: name, type: type, presence: :optional}) do
    {quote(do: optional(unquote(name))), write(type)}
  end

  defp pair(%Field{name: name, type: type}), do: {name, write(type)}

  defp literal(value) when is_binary(value), do: quote(do: String.t())
  defp literal(value) when is_float(value), do: quote(do: float)
  defp literal(value), do: value

  defp either(types), do: types |> Enum.reverse() |> Enum.reduce(&{:|, [], [&1, &2]})

  defp sides({:|, _meta, [left, right]}), do: sides(left) ++ sides(right)
  defp sides(side), do: [side]

  # Literals beside each other are one enum; a nil beside others makes them nullable.
  defp union!(sides, env) do
    {literals, types} = Enum.split_with(sides, &(is_atom(&1) or is_integer(&1)))

    case {literals, Enum.map(types, &read!(&1, env))} do
      {literals, []} -> {:enum, literals}
      {[nil], [type]} -> {:nullable, type}
      {[], types} -> {:union, types}
      {literals, types} -> {:union, types ++ [{:enum, literals}]}
    end
  end

  defp entry!({{presence, _meta, [name]}, spec}, env)
       when presence in [:optional, :required] and is_atom(name) do
    {{presence, name}, read!(spec, env)}
  end

  defp entry!({name, spec}, env) when is_atom(name), do: {name, read!(spec, env)}

  defp entry!({key, _spec}, _env) do
    raise ArgumentError, "#{Macro.to_string(key)} is no key: one is an atom"
  end
end

defmodule AxonPort.Schema.Type do
  @moduledoc """
  Reads the notation of types into the one form that JSON Schema, casts and typespecs are made of.

  `AxonPort.Schema` describes the notation; this module alone takes it apart, so it is also the one place where a
  wrong type is found out. A struct's module is kept by name and asked for its fields only when they are needed: that is
  what lets a struct hold itself.
  """

  alias AxonPort.Schema.Field

  @typedoc "A type as it is written (see `AxonPort.Schema`)."
  @type notation :: term

  @typedoc "A type as it was read."
  @type t ::
          {:plain, :string | :integer | :number | :float | :boolean | :null | :any | :map | :list}
          | {:calendar, module}
          | {:struct, module}
          | {:object, [Field.t()]}
          | {:list, t}
          | {:map, t}
          | {:tuple, [t]}
          | {:union, [t]}
          | {:enum, [{wire :: term, value :: term}]}
          | {:raw, map}
          | {:annotated, t, %{String.t() => term}}

  @plain [:string, :integer, :number, :float, :boolean, :any, :map, :list]
  @calendar [Date, Time, DateTime, NaiveDateTime]

  # What can be said of a type beside what it is, by its name here and in JSON Schema.
  @annotations %{
    title: "title",
    description: "description",
    examples: "examples",
    format: "format",
    minimum: "minimum",
    maximum: "maximum",
    exclusive_minimum: "exclusiveMinimum",
    exclusive_maximum: "exclusiveMaximum",
    multiple_of: "multipleOf",
    min_length: "minLength",
    max_length: "maxLength",
    pattern: "pattern",
    min_items: "minItems",
    max_items: "maxItems",
    unique_items: "uniqueItems",
    min_properties: "minProperties",
    max_properties: "maxProperties"
  }

  @doc """
  Reads a type.

  Raises `ArgumentError` if it is none.
  """
  @spec read!(notation) :: t
  def read!(nil), do: {:plain, :null}
  def read!(type) when type in @plain, do: {:plain, type}
  def read!(module) when module in @calendar, do: {:calendar, module}
  def read!(atom) when is_atom(atom), do: module!(atom)
  def read!([type]), do: {:list, read!(type)}
  def read!({:list, type}), do: {:list, read!(type)}
  def read!({:map, type}), do: {:map, read!(type)}
  def read!({:nullable, type}), do: {:union, [read!(type), {:plain, :null}]}
  def read!({:tuple, [_ | _] = types}), do: {:tuple, Enum.map(types, &read!/1)}
  def read!({:union, [_ | _] = types}), do: {:union, Enum.map(types, &read!/1)}
  def read!({:enum, [_ | _] = values}), do: {:enum, Enum.map(values, &{wire!(&1), &1})}
  def read!({:json_schema, %{} = schema}), do: {:raw, schema}
  # As objects, so that a description finds room.
  def read!({:json_schema, true}), do: {:raw, %{}}
  def read!({:json_schema, false}), do: {:raw, %{"not" => %{}}}
  def read!({type, [_ | _] = annotations}), do: {:annotated, read!(type), annotations!(annotations)}
  def read!(%{} = map) when not is_struct(map), do: map!(map)
  def read!(other), do: wrong!(other)

  @doc """
  Reads one field of an object: its name, its type, and what `AxonPort.Schema.field/3` takes.

  Raises `ArgumentError` if the type or an option is none.
  """
  @spec field!(atom, notation, keyword) :: Field.t()
  def field!(name, type, options \\ []) when is_atom(name) do
    {own, annotations} = Keyword.split(options, [:optional, :default])
    type = if annotations == [], do: read!(type), else: read!({type, annotations})
    presence = presence!(name, Map.new(own))
    %Field{name: name, key: Atom.to_string(name), type: type, presence: presence}
  end

  defp presence!(_name, %{default: value}), do: {:default, value}
  defp presence!(_name, %{optional: true}), do: :optional
  defp presence!(_name, %{optional: false}), do: :required
  defp presence!(_name, own) when own == %{}, do: :required
  defp presence!(name, own), do: raise(ArgumentError, "field #{inspect(name)}: wrong options #{inspect(own)}")

  # A map whose keys are texts is what it describes already: a JSON Schema.
  defp map!(map) when map == %{}, do: {:object, []}

  defp map!(map) do
    if Enum.all?(map, fn {key, _type} -> is_binary(key) end) do
      {:raw, map}
    else
      {:object, map |> Enum.map(&entry!/1) |> Enum.sort_by(& &1.key)}
    end
  end

  defp entry!({{:optional, name}, type}) when is_atom(name), do: field!(name, type, optional: true)
  defp entry!({{:required, name}, type}) when is_atom(name), do: field!(name, type)
  defp entry!({name, type}) when is_atom(name), do: field!(name, type)

  defp entry!({name, _type}) do
    raise ArgumentError, "#{inspect(name)} is no key: one is an atom or optional(atom)"
  end

  defp module!(atom) do
    case Atom.to_string(atom) do
      "Elixir." <> _name -> {:struct, atom}
      _other -> wrong!(atom)
    end
  end

  defp wire!(value) when is_boolean(value) or is_nil(value), do: value
  defp wire!(value) when is_atom(value), do: Atom.to_string(value)
  defp wire!(value) when is_binary(value) or is_number(value), do: value
  defp wire!(value), do: raise(ArgumentError, "#{inspect(value)} cannot be a value of an enum")

  defp annotations!(annotations) do
    Map.new(annotations, fn
      {:pattern, %Regex{} = regex} -> {"pattern", Regex.source(regex)}
      {name, value} when is_map_key(@annotations, name) -> {@annotations[name], value}
      other -> raise ArgumentError, "#{inspect(other)} says nothing of a type: one of #{known_annotations()}"
    end)
  end

  defp known_annotations, do: @annotations |> Map.keys() |> Enum.sort() |> Enum.map_join(", ", &inspect/1)

  defp wrong!(other) do
    raise ArgumentError, "#{inspect(other)} is no type: see AxonPort.Schema for those there are"
  end
end
